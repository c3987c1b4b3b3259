//! What came out: a table for people, and JSON for whoever compares runs.

use crate::Outcome;
use crate::clock::Nanos;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is to be reached.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// Told, and judged by nobody.
    None,
}

/// One figure: the median of its rounds, with the least and the greatest.
pub(crate) struct Row {
    what: String,
    target: Target,
    unit: &'static str,
    rounds: Vec<f64>,
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn row(&mut self, what: impl Into<String>, target: Target, unit: &'static str, rounds: Vec<f64>) {
        self.rows.push(Row { what: what.into(), target, unit, rounds });
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn print(&self, scenario: &str) {
        println!("\n{scenario}");
        let width = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
        for row in &self.rows {
            let padding = " ".repeat(width - row.what.chars().count());
            println!(
                "  {}{padding}  {:>12}  {:>14}  {}  ({} to {} in {})",
                row.what,
                row.target.text(row.unit),
                format!("{} {}", number(row.median()), row.unit),
                row.verdict(),
                number(row.least()),
                number(row.greatest()),
                row.rounds.len(),
            );
        }
        for note in &self.notes {
            println!("  - {note}");
        }
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let (at_most, at_least) = match row.target {
                    Target::AtMost(bound) => (Some(bound), None),
                    Target::AtLeast(bound) => (None, Some(bound)),
                    Target::None => (None, None),
                };
                json!({"what": row.what, "unit": row.unit, "at_most": at_most, "at_least": at_least, "median": row.median(),
                       "least": row.least(), "greatest": row.greatest(), "rounds": row.rounds, "is_reached": row.is_reached()})
            })
            .collect();
        json!({"rows": rows, "notes": self.notes})
    }
}

impl Target {
    fn text(self, unit: &str) -> String {
        match self {
            Target::AtMost(bound) => format!("≤ {} {unit}", number(bound)),
            Target::AtLeast(bound) => format!("≥ {} {unit}", number(bound)),
            Target::None => String::new(),
        }
    }
}

impl Row {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        }
    }

    fn least(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    fn greatest(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// Nothing that was not measured reaches anything.
    fn is_reached(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(bound) => Some(self.median() <= bound),
            Target::AtLeast(bound) => Some(self.median() >= bound),
            Target::None => None,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.is_reached() {
            Some(true) => "reached",
            Some(false) => "MISSED ",
            None => "       ",
        }
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        great if great >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        middling if middling >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Puts the scenario's figures into the file, beside those of other scenarios that it holds.
pub(crate) fn keep(path: &Path, scenario: &str, report: &Report, command: &str) -> Outcome {
    let mut kept: BTreeMap<String, Value> = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => BTreeMap::new(),
    };
    let measured_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut scenes = report.json();
    scenes["command"] = json!(command);
    scenes["unix_time"] = json!(measured_at);
    kept.insert(scenario.to_owned(), scenes);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(path, serde_json::to_vec_pretty(&kept)?)?)
}

/// The value below which so much of the values lie, in milliseconds; sorts them.
pub(crate) fn quantile(values: &mut [Nanos], part: f64) -> f64 {
    values.sort_unstable();
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    // Rounded up: of few values the p99 is the greatest.
    let at = (last as f64 * part).ceil() as usize;
    values[at.min(last)] as f64 / 1e6
}
