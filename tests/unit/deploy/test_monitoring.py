"""Dashboard and scraping ask for metrics, labels and targets that exist."""

import json
import re

import promql_parser
import pytest
from prometheus_client.metrics import MetricWrapperBase

from app.settings import Settings
from app.telemetry.metrics import api, maintenance, state, worker
from tests.unit.deploy.manifests import DEPLOY, compose, documents, variables

BOARD = json.loads((DEPLOY / "grafana/dashboards/secateur.json").read_text())
QUERIES = [
    pytest.param(target, id=f"{panel['title']} {target['refId']}")
    for panel in BOARD["panels"]
    for target in panel["targets"]
]


VARIABLES = {each["name"]: each for each in BOARD["templating"]["list"]}
PANELS = [pytest.param(panel, id=panel["title"]) for panel in BOARD["panels"]]


def families():
    for module in (api, maintenance, worker):
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                yield metric.describe()[0], metric._labelnames
    for family in state.State({}, {}).collect():
        yield family, family._labelnames


def series():
    """Every name that Prometheus knows of us, with its labels."""
    known = {}
    for family, labels in families():
        match family.type:
            case "counter":
                known[f"{family.name}_total"] = set(labels)
            case "histogram":
                known |= {f"{family.name}_{end}": set(labels) for end in ("sum", "count")}
                known[f"{family.name}_bucket"] = {*labels, "le"}
            case _:
                known[family.name] = set(labels)
    return known


def selected(query):
    """The series that a query reads, labels it matches, and those it groups by, outermost first."""
    names, matched, grouped = set(), set(), []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            names.add(node.name)
            matched.update(matcher.name for matcher in node.matchers.matchers)
        if isinstance(node, promql_parser.AggregateExpr) and str(node.op) != "topk":
            grouped.append(set(node.modifier.labels) if node.modifier else set())
        return True

    # A number for what Grafana fills in; its variables stand in texts. It parses, so functions
    # fit what they are given.
    promql_parser.walk(promql_parser.parse(query.replace("$__rate_interval", "5m")), visit)
    return names, matched, grouped


@pytest.mark.parametrize("target", QUERIES)
def test_the_dashboard_asks_for_what_exists(target):
    [name], matched, grouped = selected(target["expr"])
    assert matched.union(*grouped) <= series()[name]
    legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert legend == (grouped[0] - {"le"} if grouped else set())


def test_everything_counted_is_on_the_dashboard_or_left_out_on_purpose():
    asked = {name for query in QUERIES for name in selected(query.values[0]["expr"])[0]}
    shown = {
        family.name
        for family, _ in families()
        if any(each.startswith(family.name) for each in asked)
    }
    left_out = {family.name for family, _ in families()} - shown
    assert left_out == {
        "secateur_foreign_entries",
        "secateur_maintenance_failures",
        "secateur_jobs_overdue",
        "secateur_maintenance_interrupted",
        "secateur_swept",
        "secateur_webhook_attempt_seconds",
    }


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_when_to_worry(panel):
    assert panel["description"].endswith((".", "?"))
    shown = panel["fieldConfig"]["defaults"]
    assert shown["unit"] != "none"
    if panel["type"] == "stat":
        colors = [step["color"] for step in shown["thresholds"]["steps"]]
        assert colors[0] in {"green", "red"}
    if "thresholds" in shown:
        values = [step["value"] for step in shown["thresholds"]["steps"]]
        assert values[0] is None
        assert values[1:] == sorted(values[1:])


def test_tiles_come_first_and_nothing_lies_on_another():
    kinds = [panel["type"] for panel in BOARD["panels"]]
    assert kinds == ["stat"] * 6 + ["timeseries"] * (len(kinds) - 6)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(kinds)


def test_variables_are_labels_that_exist_and_are_asked_for():
    asked = " ".join(query.values[0]["expr"] for query in QUERIES).replace("$__rate_interval", "")
    assert set(re.findall(r"\$(\w+)", asked)) == VARIABLES.keys() - {"datasource"}
    for name, variable in VARIABLES.items():
        assert variable["description"]
        if variable["type"] == "query":
            metric, label = re.fullmatch(
                r"label_values\((\w+), (\w+)\)", variable["query"]
            ).groups()
            assert label == name
            assert label in series()[metric]


def test_grafana_finds_board_and_prometheus():
    grafana = compose()["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    [[provider]] = [
        each["providers"]
        for each in documents(DEPLOY / "grafana/provisioning/dashboards/secateur.yaml")
    ]
    assert provider["options"]["path"] == mounts["./deploy/grafana/dashboards"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    [[source]] = [
        each["datasources"]
        for each in documents(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")
    ]
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {"${datasource}"}
    assert VARIABLES["datasource"]["current"]["value"] == source["uid"]
    assert VARIABLES["datasource"]["query"] == source["type"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert host in compose()["services"]
    assert port == "9090"


def test_prometheus_asks_services_where_they_answer(monkeypatch):
    [config] = documents(DEPLOY / "prometheus.yml")
    asked = {}
    for job in config["scrape_configs"]:
        [found] = job["dns_sd_configs"]
        [service] = found["names"]
        asked[service] = found["port"]
        # At this port they answer at any path.
        assert "metrics_path" not in job
    for name, value in variables("api").items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    metrics = settings.telemetry.metrics_port
    assert asked == {"api": metrics, "maintenance": metrics, "worker": metrics}
    assert set(asked) <= set(compose()["services"])
