from alembic import command

from app.db import migrate


def test_models_and_migrations_agree(database_url):
    command.check(migrate.alembic_config(database_url))


def test_every_migration_can_be_undone_and_redone(database_url, engine):
    config = migrate.alembic_config(database_url)
    command.downgrade(config, "base")
    with engine.connect() as connection:
        assert not migrate.is_migrated(connection)
    migrate.upgrade(database_url)
    with engine.connect() as connection:
        assert migrate.is_migrated(connection)
