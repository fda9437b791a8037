//! The report as a picture: plain SVG, in colours that read on light and on dark pages.

use crate::{
    Report,
    collusion::{Collusion, Estimate},
    detection::SKIPPED,
    statistics::Z95,
};
use std::fmt::Write;

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 400.0;
const TEXT: &str = "#808080";
const GRID: &str = "#80808040";
const COLOURS: [&str; 4] = ["#3d85c6", "#d9822b", "#3fa066", "#b565b0"];

/// A plot's place on the page and the range of its axes.
struct Panel {
    left: f64,
    width: f64,
    x: (f64, f64),
    y: (f64, f64),
    svg: String,
}

const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 100.0;

impl Panel {
    fn new(left: f64, width: f64, x: (f64, f64), y: (f64, f64), title: &str) -> Self {
        let mut panel = Self { left, width, x, y, svg: String::new() };
        panel.text(left + width / 2.0, 22.0, "middle", title, "font-weight='bold'");
        panel
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        let up = (y - self.y.0) / (self.y.1 - self.y.0);
        (self.left + across * self.width, BOTTOM - up * (BOTTOM - TOP))
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str, more: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.svg,
            "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' {more}>{text}</text>"
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let _ = writeln!(
            self.svg,
            "<line x1='{:.1}' y1='{:.1}' x2='{:.1}' y2='{:.1}' {style}/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn axes(&mut self, xs: &[(f64, &str)], ys: &[(f64, &str)], x_label: &str, y_label: &str) {
        let grid = format!("stroke='{GRID}'");
        for &(x, label) in xs {
            let (at, _) = self.at(x, self.y.0);
            self.line((at, TOP), (at, BOTTOM), &grid);
            self.text(at, BOTTOM + 16.0, "middle", label, "");
        }
        for &(y, label) in ys {
            let (_, at) = self.at(self.x.0, y);
            self.line((self.left, at), (self.left + self.width, at), &grid);
            self.text(self.left - 6.0, at + 4.0, "end", label, "");
        }
        self.text(self.left + self.width / 2.0, BOTTOM + 36.0, "middle", x_label, "");
        let (x, y) = (self.left - 42.0, (TOP + BOTTOM) / 2.0);
        if !y_label.is_empty() {
            self.text(x, y, "middle", y_label, &format!("transform='rotate(-90 {x:.1} {y:.1})'"));
        }
    }

    fn curve(&mut self, points: impl Iterator<Item = (f64, f64)>, colour: &str) {
        let points: Vec<_> =
            points.map(|(x, y)| self.at(x, y)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.svg,
            "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='1.6'/>",
            points.join(" ")
        );
    }

    fn dot(&mut self, x: f64, y: f64, interval: (f64, f64), colour: &str) {
        let (low, high, (cx, cy)) = (self.at(x, interval.0), self.at(x, interval.1), self.at(x, y));
        self.line(low, high, &format!("stroke='{colour}'"));
        let _ = writeln!(self.svg, "<circle cx='{cx:.1}' cy='{cy:.1}' r='3' fill='{colour}'/>");
    }

    /// Entries in two columns below the axis.
    fn legend(&mut self, entries: &[(&str, &str)]) {
        for (at, (colour, label)) in entries.iter().enumerate() {
            let x = self.left - 20.0 + (at % 2) as f64 * (self.width / 2.0 + 20.0);
            let y = BOTTOM + 60.0 + (at / 2) as f64 * 18.0;
            self.line(
                (x, y - 4.0),
                (x + 18.0, y - 4.0),
                &format!("stroke='{colour}' stroke-width='3'"),
            );
            self.text(x + 24.0, y, "start", label, "");
        }
    }
}

const SHARES: [(f64, &str); 6] =
    [(0.0, "0"), (0.2, "20"), (0.4, "40"), (0.6, "60"), (0.8, "80"), (1.0, "100")];

fn detection(report: &Report) -> Panel {
    let mut panel = Panel::new(60.0, 270.0, (0.0, 30.0), (0.0, 1.0), "Skipping segments");
    let xs = [(0.0, "0"), (10.0, "10"), (20.0, "20"), (30.0, "30")];
    panel.axes(&xs, &SHARES, "updates", "trainers caught, %");
    let mut labels = Vec::new();
    for (skipped, colour) in SKIPPED.into_iter().zip(COLOURS) {
        let p = crate::detection::chance(
            report.settings.segments,
            skipped,
            report.settings.audit.segments,
        );
        panel.curve(
            (0..=120)
                .map(|n| f64::from(n) / 4.0)
                .map(|n| (n, 1.0 - (1.0 - p).powf(n)))
                .filter(|(n, _)| p < 1.0 || *n >= 1.0),
            colour,
        );
        for found in report.detection.iter().filter(|found| found.skipped == skipped) {
            panel.dot(
                found.updates.into(),
                found.caught.share(),
                found.caught.interval(Z95),
                colour,
            );
        }
        labels.push((colour, format!("{skipped} of {} skipped", report.settings.segments)));
    }
    panel.legend(
        &labels.iter().map(|(colour, label)| (*colour, label.as_str())).collect::<Vec<_>>(),
    );
    panel
}

fn collusion(report: &Report) -> Panel {
    let mut panel = Panel::new(410.0, 290.0, (0.0, 0.7), (0.0, 1.0), "Colluding validators");
    let xs = [
        (0.0, "0"),
        (0.1, "10"),
        (0.2, "20"),
        (0.3, "30"),
        (0.4, "40"),
        (0.5, "50"),
        (0.6, "60"),
        (0.7, "70"),
    ];
    panel.axes(&xs, &SHARES, "stake that colludes, %", "updates, %");
    type Figure = fn(&Collusion) -> &Estimate;
    let figures: [(&str, Figure); 4] = [
        ("wrong verdict", |found| &found.passes),
        ("cheat convicted", |found| &found.caught),
        ("honest undecided", |found| &found.stalled),
        ("score set", |found| &found.score_set),
    ];
    for ((_, figure), colour) in figures.iter().zip(COLOURS) {
        let start = if figure(&report.collusion[0]).expected > 0.5 { 1.0 } else { 0.0 };
        let points = report.collusion.iter().map(|found| (found.stake, figure(found).expected));
        panel.curve(std::iter::once((0.0, start)).chain(points), colour);
        for found in &report.collusion {
            let rate = figure(found).rate;
            panel.dot(found.stake, rate.share(), rate.interval(Z95), colour);
        }
    }
    panel.legend(
        &figures
            .iter()
            .zip(COLOURS)
            .map(|((label, _), colour)| (colour, *label))
            .collect::<Vec<_>>(),
    );
    panel
}

fn margins(report: &Report) -> Panel {
    let bars: Vec<_> = report
        .trainers
        .iter()
        .filter_map(|found| Some((found.name, found.margin?, found.margin_alone?)))
        .collect();
    let mut panel = Panel::new(935.0, 225.0, (-1.0, 4.0), (0.0, 1.0), "Deterrence");
    let xs =
        [(-1.0, "0.1"), (0.0, "1"), (1.0, "10"), (2.0, "100"), (3.0, "1,000"), (4.0, "10,000")];
    panel.axes(&xs, &[], "p · (reward + bond) / compute saved", "");
    let row = (BOTTOM - TOP) / bars.len().max(1) as f64;
    for (at, (name, margin, alone)) in bars.into_iter().enumerate() {
        let middle = TOP + (at as f64 + 0.5) * row;
        panel.text(panel.left - 8.0, middle + 4.0, "end", name, "");
        for (value, offset, colour) in
            [(margin, -row * 0.18, COLOURS[0]), (alone, row * 0.18, COLOURS[1])]
        {
            let (from, to) =
                (panel.at(0.0, 0.0).0, panel.at(value.max(1e-9).log10().clamp(-1.0, 4.0), 0.0).0);
            let width = row * 0.32;
            panel.line(
                (from, middle + offset),
                (to, middle + offset),
                &format!("stroke='{colour}' stroke-width='{width:.1}'"),
            );
        }
    }
    let one = panel.at(0.0, 0.0).0;
    panel.line((one, TOP), (one, BOTTOM), &format!("stroke='{TEXT}' stroke-width='1.4'"));
    panel.legend(&[(COLOURS[0], "64 trainers"), (COLOURS[1], "1 trainer, at cost")]);
    panel
}

/// The report's three plots as an SVG document. Lines are exact chances, dots are simulated with
/// their 95 % intervals.
pub fn svg(report: &Report) -> String {
    let panels: String = [detection(report), collusion(report), margins(report)]
        .into_iter()
        .map(|panel| panel.svg)
        .collect();
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12' fill='{TEXT}'>\n\
         <title>Detection, collusion and deterrence, as simulated</title>\n{panels}</svg>\n"
    )
}
