//! A recording as a picture: SVG, written by hand, without anything that is fetched. Above what reaches the cell and what
//! comes of it, below what the clients try and what becomes of the rest.

use std::fmt::Write;

use super::curve::{Recorded, Second};

/// The picture's size and the margins of its panels, in pixels.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 15.0;

/// The panels' tops and heights.
const ABOVE: Panel = Panel { top: 60.0, height: 190.0 };
const BELOW: Panel = Panel { top: 300.0, height: 170.0 };

/// Seconds between two marks of the axis.
const MARK_SECS: i64 = 15;

/// The upper panel shows the capacity and half of it more: what is far above is cut off, and stands in the CSV.
const HEADROOM: f64 = 1.5;

#[derive(Clone, Copy)]
struct Panel {
    top: f64,
    height: f64,
}

struct Line {
    name: &'static str,
    /// Of Okabe and Ito, whom people of all eyes can tell apart.
    colour: &'static str,
    of: fn(&Second) -> u32,
}

const REACHING: [Line; 2] = [
    Line { name: "arrived at the cell", colour: "#0072b2", of: |second| second.arrived },
    Line { name: "answered in time", colour: "#009e73", of: |second| second.good },
];

const TRYING: [Line; 3] = [
    Line { name: "attempts", colour: "#666666", of: |second| second.offered },
    Line { name: "refused by the proxy", colour: "#e69f00", of: |second| second.refused },
    Line { name: "failed", colour: "#d55e00", of: |second| second.failed },
];

/// The picture of a recording.
pub fn svg(title: &str, recorded: &Recorded) -> String {
    let plan = &recorded.plan;
    let (capacity, back) = (plan.declared_rps, plan.back().as_secs() as i64);
    let axis = Axis { back, seconds: recorded.seconds.len().max(1) as f64 };
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" \
         y=\"22\" font-size=\"16\">{title}: requests a second, by seconds since the return of the cell</text>\n"
    );
    let top = capacity * HEADROOM;
    picture += &axis.frame(ABOVE, top, &recorded.collapses);
    picture += &axis.level(ABOVE, top, capacity, "declared capacity");
    picture += &axis.level(ABOVE, top, plan.demand_rps, "demand");
    let envelope = (back..recorded.seconds.len() as i64).map(|at| plan.envelope_rps((at - back) as u64));
    picture += &axis.line(ABOVE, top, back, envelope, "black\" stroke-dasharray=\"5 3");
    picture += &axis.curves(ABOVE, top, &recorded.seconds, &REACHING);
    picture += "<text x=\"560\" y=\"52\" fill=\"black\">envelope (dashed)</text>\n";
    let most = recorded.seconds.iter().flat_map(|second| TRYING.map(|line| (line.of)(second))).max();
    let top = round_up(f64::from(most.unwrap_or_default()));
    picture += &axis.frame(BELOW, top, &[]);
    picture += &axis.curves(BELOW, top, &recorded.seconds, &TRYING);
    picture + "</svg>\n"
}

struct Axis {
    /// Seconds before the return.
    back: i64,
    seconds: f64,
}

impl Axis {
    fn x(&self, second: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * second / self.seconds
    }

    fn y(panel: Panel, top: f64, value: f64) -> f64 {
        panel.top + panel.height * (1.0 - (value / top).clamp(0.0, 1.0))
    }

    /// Borders, marks, and bars where the cell began to thrash.
    fn frame(&self, panel: Panel, top: f64, collapses: &[std::time::Duration]) -> String {
        let (width, bottom) = (WIDTH - LEFT - RIGHT, panel.top + panel.height);
        let mut text = format!(
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{width}\" height=\"{}\" fill=\"none\" stroke=\"#999999\"/>\n",
            panel.top, panel.height
        );
        for quarter in 0..=4 {
            let value = top * f64::from(quarter) / 4.0;
            let y = Self::y(panel, top, value) + 4.0;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.0}</text>",
                LEFT - 6.0
            );
        }
        let first = -self.back.div_euclid(MARK_SECS) * MARK_SECS;
        let marks = (0..).map(|number| first + number * MARK_SECS);
        for at in marks.take_while(|at| ((at + self.back) as f64) < self.seconds) {
            let (x, y) = (self.x((at + self.back) as f64), bottom + 16.0);
            let stroke = if at == 0 { "#444444" } else { "#eeeeee" };
            let _ = writeln!(
                text,
                "<path d=\"M{x:.1} {} V{bottom}\" stroke=\"{stroke}\"/><text x=\"{x:.1}\" y=\"{y}\" \
                 text-anchor=\"middle\">{at}</text>",
                panel.top
            );
        }
        for at in collapses {
            let x = self.x(at.as_secs_f64());
            let _ = writeln!(
                text,
                "<path d=\"M{x:.1} {} V{bottom}\" stroke=\"#cc79a7\" stroke-width=\"2\"/><text x=\"{:.1}\" \
                 y=\"{}\" fill=\"#cc79a7\">collapse</text>",
                panel.top,
                x + 3.0,
                panel.top + 12.0
            );
        }
        text
    }

    fn level(&self, panel: Panel, top: f64, value: f64, name: &str) -> String {
        let y = Self::y(panel, top, value);
        format!(
            "<path d=\"M{LEFT} {y:.1} H{}\" stroke=\"#bbbbbb\" stroke-dasharray=\"2 3\"/><text x=\"{}\" \
             y=\"{:.1}\" fill=\"#777777\">{name}</text>\n",
            WIDTH - RIGHT,
            LEFT + 4.0,
            y - 3.0
        )
    }

    fn line(
        &self,
        panel: Panel,
        top: f64,
        from: i64,
        values: impl Iterator<Item = f64>,
        stroke: &str,
    ) -> String {
        let points = (from..).zip(values).map(|(second, value)| {
            // A second's count stands in its middle.
            format!("{:.1},{:.1}", self.x(second as f64 + 0.5), Self::y(panel, top, value))
        });
        let points = points.collect::<Vec<_>>().join(" ");
        format!("<polyline fill=\"none\" stroke=\"{stroke}\" points=\"{points}\"/>\n")
    }

    fn curves(&self, panel: Panel, top: f64, seconds: &[Second], lines: &[Line]) -> String {
        let mut text = String::new();
        let mut x = LEFT;
        for Line { name, colour, of } in lines {
            let values = seconds.iter().map(|second| f64::from(of(second)));
            text += &self.line(panel, top, 0, values, colour);
            let _ =
                writeln!(text, "<text x=\"{x}\" y=\"{}\" fill=\"{colour}\">{name}</text>", panel.top - 8.0);
            x += 200.0;
        }
        text
    }
}

/// The next number with one digit other than 0, and room for four even marks.
fn round_up(value: f64) -> f64 {
    let step = 10.0_f64.powf(value.max(10.0).log10().floor());
    (value / step).ceil().max(1.0) * step
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::curve::Plan;
    use super::*;

    #[test]
    fn a_picture_has_every_curve_every_second_and_every_collapse() {
        let plan = Plan {
            demand_rps: 140.0,
            declared_rps: 200.0,
            before: Duration::from_secs(2),
            outage: Duration::from_secs(3),
            after: Duration::from_secs(15),
        };
        let seconds = vec![Second { offered: 7, ..Second::default() }; 20];
        let collapses = vec![Duration::from_secs(6), Duration::from_secs(9)];
        let recorded = Recorded {
            plan,
            seconds,
            arrived: Vec::new(),
            collapses,
            thrashed: Duration::ZERO,
            wasted: 0,
            left: 0,
        };
        let found = svg("nobody", &recorded);
        let lines: Vec<&str> = found.lines().filter(|line| line.starts_with("<polyline")).collect();
        let points: Vec<usize> = lines.iter().map(|line| line.matches(',').count()).collect();
        assert_eq!(points, [15, 20, 20, 20, 20, 20], "the envelope, and five curves");
        assert_eq!(found.matches(">collapse<").count(), 2);
        assert!(found.contains(">0</text>") && found.ends_with("</svg>\n") && !found.contains("NaN"));
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (value, expected) in
            [(0.0, 10.0), (7.0, 10.0), (140.0, 200.0), (1_001.0, 2_000.0), (9_500.0, 10_000.0)]
        {
            assert!((round_up(value) - expected).abs() < 1e-6, "{value}: {}", round_up(value));
        }
    }
}
