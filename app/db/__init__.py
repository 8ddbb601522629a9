"""PostgreSQL: schema, migrations, and repositories. All SQL of the project lives here.

Repositories are functions over an open `Connection`; who opened the transaction commits it.
"""
