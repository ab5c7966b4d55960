//! The dashboard and the alerts in `deploy/` use only metrics and labels of a scrape.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::*;

/// The words of a query that need not be in a scrape: functions, operators, and the series `up` with its label.
const WORDS: [&str; 18] = [
    "sum",
    "by",
    "rate",
    "increase",
    "max",
    "min",
    "min_over_time",
    "histogram_quantile",
    "absent",
    "unless",
    "and",
    "or",
    "on",
    "offset",
    "bool",
    "label_values",
    "up",
    "job",
];

fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap()
}

/// The names in a query, without quoted text, numbers, durations and variables.
fn names(query: &str) -> BTreeSet<&str> {
    let outside_of_quotes = query.split('"').step_by(2);
    let words = outside_of_quotes
        .flat_map(|text| text.split(|character: char| !character.is_ascii_alphanumeric() && !"_$".contains(character)));
    words.filter(|word| word.starts_with(|first: char| first.is_ascii_alphabetic())).collect()
}

/// The queries of all panels and variables.
fn queries(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("expr" | "definition", Json::String(query)) => found.push(query.clone()),
                    _ => queries(value, found),
                }
            }
        }
        Json::Array(array) => array.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// The text after each `expr:`, on its line or in the deeper lines below.
fn expressions(yaml: &str) -> Vec<String> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = yaml.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(rest) = line.trim_start().strip_prefix("expr: ") else { continue };
        let below = lines[number + 1..].iter().take_while(|below| depth(below) > depth(line));
        found.push(if rest == "|" { below.copied().collect::<Vec<_>>().join("\n") } else { rest.to_owned() });
    }
    found
}

/// The names of all samples and labels of a scrape with everything in it.
fn scraped() -> BTreeSet<String> {
    let text = exercised(&config()).render();
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut found = BTreeSet::new();
    for line in samples {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        found.insert(name.to_owned());
        let labels = labels.split('"').step_by(2).map(|label| label.trim_matches([',', '=', '}']));
        found.extend(labels.filter(|label| !label.is_empty()).map(str::to_owned));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn the_dashboard_and_the_alerts_use_only_what_a_scrape_has() {
    let mut found = expressions(&read("prometheus/alerts.yml"));
    assert!(found.len() >= 16, "{found:?}");
    queries(&serde_json::from_str(&read("grafana/dashboards/brigade.json")).unwrap(), &mut found);
    assert!(found.len() >= 16 + 40, "{}", found.len());
    let known = scraped();
    for query in &found {
        for name in names(query) {
            assert!(known.contains(name) || WORDS.contains(&name), "`{name}` of `{query}` is in no scrape");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_dashboard_shows_every_metric_of_brigade() {
    let mut found = Vec::new();
    queries(&serde_json::from_str(&read("grafana/dashboards/brigade.json")).unwrap(), &mut found);
    let shown = found.join("\n");
    let text = exercised(&config()).render();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for family in families {
        assert!(shown.contains(family), "{family} is on no panel");
    }
}

#[test]
fn promtool_agrees_with_the_rules_and_their_tests() {
    let folder = deploy("prometheus");
    for arguments in
        [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]]
    {
        let Ok(output) = Command::new("promtool").args(arguments).current_dir(&folder).output() else {
            brigade_core::testing::skip_test("alerts by promtool", "promtool is not installed");
            return;
        };
        let printed = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8(printed).unwrap());
    }
}
