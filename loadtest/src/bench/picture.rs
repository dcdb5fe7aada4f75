//! The ratios of a report as a picture for the documentation: SVG, written by hand, without anything that is fetched.

use std::fmt::Write;

use super::report::{Report, Row, ScenarioReport};
use super::site::Kind;

/// In pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 130.0;
const BAR: f64 = 16.0;
const TITLE: f64 = 26.0;
const GAP: f64 = 14.0;
const TOP: f64 = 46.0;

/// Ratios above this are cut off at the edge; their number stands beside them.
const MOST: f64 = 2.0;

/// Bars of CPU a request over HAProxy's, with a line from the least to the most of all rounds.
pub fn svg(report: &Report) -> String {
    let compared: Vec<&ScenarioReport> = report
        .scenarios
        .iter()
        .filter(|scenario| scenario.rows.iter().any(|row| row.ratio.is_some()))
        .collect();
    let height = compared.iter().map(|scenario| part_height(scenario)).sum::<f64>() + TOP + GAP;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"10\" y=\"22\" \
         font-size=\"16\">CPU a request over HAProxy's, {} accounts (idle: memory a connection; reload, cold start: time)</text>\n",
        report.accounts
    );
    let mut top = TOP;
    for scenario in compared {
        part(&mut text, top, scenario);
        top += part_height(scenario);
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "<path d=\"M{x:.1} {TOP} V{bottom}\" stroke=\"#444444\" stroke-dasharray=\"3 3\"/>\n</svg>",
        x = x(1.0),
        bottom = height - GAP
    );
    text
}

fn part_height(scenario: &ScenarioReport) -> f64 {
    TITLE + BAR * scenario.rows.iter().filter(|row| row.ratio.is_some()).count() as f64 + GAP
}

fn part(text: &mut String, top: f64, scenario: &ScenarioReport) {
    let _ = writeln!(
        text,
        "<text x=\"10\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
        top + TITLE - 8.0,
        scenario.title
    );
    let compared = scenario.rows.iter().filter(|row| row.ratio.is_some());
    for (number, row) in compared.enumerate() {
        bar(text, top + TITLE + BAR * number as f64, row);
    }
}

fn bar(text: &mut String, top: f64, row: &Row) {
    let Some(ratio) = row.ratio else { return };
    let (middle, base) = (top + BAR / 2.0 - 1.0, top + BAR - 4.0);
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text><rect x=\"{LEFT}\" y=\"{top:.1}\" \
         width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/><path d=\"M{:.1} {middle:.1} H{:.1}\" stroke=\"black\"/><text \
         x=\"{:.1}\" y=\"{base:.1}\">{:.2}</text>",
        LEFT - 6.0,
        row.contestant,
        x(ratio.median) - LEFT,
        BAR - 3.0,
        colour(&row.contestant),
        x(ratio.least),
        x(ratio.most),
        x(ratio.median.max(ratio.most)) + 6.0,
        ratio.median
    );
}

fn x(ratio: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * (ratio / MOST).clamp(0.0, 1.0)
}

/// Of Okabe and Ito, whom people of all eyes can tell apart: ours stands out, floors do not.
fn colour(contestant: &str) -> &'static str {
    match contestant.parse() {
        Ok(Kind::Cellgate) => "#0072b2",
        Ok(Kind::Floor | Kind::Relay) => "#dddddd",
        _ => "#999999",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rounds::Spread;

    #[test]
    fn there_is_a_bar_for_each_ratio_and_none_beyond_the_edge() {
        let row =
            |contestant: &str, ratio| Row { contestant: contestant.to_owned(), ratio, ..Row::default() };
        let spread = |median| Some(Spread { median, least: median, most: median * 2.0 });
        let rows = vec![row("cellgate", spread(0.5)), row("envoy", spread(7.0)), row("nginx", None)];
        let scenarios =
            vec![ScenarioReport { title: "HTTP/1.1".to_owned(), rows, ..ScenarioReport::default() }];
        let picture = svg(&Report { scenarios, ..Report::default() });
        assert_eq!(picture.matches("<rect x=").count(), 2, "{picture}");
        assert!(picture.contains(">7.00<") && !picture.contains("nginx"), "{picture}");
        assert_eq!(x(7.0), WIDTH - RIGHT);
        assert!(picture.ends_with("</svg>\n"));
    }
}
