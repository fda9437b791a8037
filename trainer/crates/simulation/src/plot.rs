// SPDX-License-Identifier: Apache-2.0

//! The report as a picture, in colours that read on light and on dark pages.

use crate::{
    Report,
    collusion::{Collusion, Estimate},
    detection::{SKIPPED, chance},
    statistics::{Rate, Z95},
};
use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type PercentChart<'a> = ChartContext<
    'a,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Size of the picture in pixels.
const SIZE: (u32, u32) = (1_800, 600);
/// Right edges of the first two plots.
const EDGES: (u32, u32) = (530, 1_080);
/// Top of the legends.
const LEGEND_TOP: u32 = 520;
const FONT_SIZE: u32 = 18;
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x3d, 0x85, 0xc6),
    RGBColor(0xd9, 0x82, 0x2b),
    RGBColor(0x3f, 0xa0, 0x66),
    RGBColor(0xb5, 0x65, 0xb0),
];

/// Draws the report's three plots as an SVG document. Lines are exact chances, dots are simulated
/// with their 95 % intervals, bars have a logarithmic scale.
///
/// # Errors
///
/// Fails if plotters cannot draw an element.
pub fn svg(report: &Report) -> Result<String> {
    let mut document = String::new();
    {
        let root = SVGBackend::with_string(&mut document, SIZE).into_drawing_area();
        let (left, right) = root.split_horizontally(EDGES.0);
        let (middle, right) = right.split_horizontally(EDGES.1 - EDGES.0);
        detection(report, &left)?;
        collusion(report, &middle)?;
        margins(report, &right)?;
        root.present()?;
    }
    Ok(document)
}

fn text() -> TextStyle<'static> {
    ("sans-serif", FONT_SIZE).into_font().color(&GREY)
}

fn title() -> TextStyle<'static> {
    ("sans-serif", FONT_SIZE + 2).into_font().style(FontStyle::Bold).color(&GREY)
}

/// Draws axes whose values are percentages, or numbers of updates.
fn axes<'a>(
    plot: &Area<'a>,
    caption: &str,
    x_max: f64,
    descriptions: [&str; 2],
) -> Result<PercentChart<'a>> {
    let mut chart = ChartBuilder::on(plot)
        .caption(caption, title())
        .margin(12)
        .margin_right(24)
        .x_label_area_size(56)
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..x_max, 0.0..100.0)?;
    let [x, y] = descriptions;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .axis_style(GREY.mix(0.25))
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .label_style(text())
        .x_desc(x)
        .y_desc(y)
        .draw()?;
    Ok(chart)
}

/// Draws a simulated rate as a dot on the line of its 95 % interval.
fn dot(chart: &mut PercentChart<'_>, x: f64, rate: Rate, colour: RGBColor) -> Result<()> {
    let (low, high) = rate.interval(Z95);
    let line = vec![(x, low * 100.0), (x, high * 100.0)];
    chart.draw_series([PathElement::new(line, colour.stroke_width(2))])?;
    chart.draw_series([Circle::new((x, rate.share() * 100.0), 4, colour.filled())])?;
    Ok(())
}

fn curve(
    chart: &mut PercentChart<'_>,
    points: impl IntoIterator<Item = (f64, f64)>,
    colour: RGBColor,
) -> Result<()> {
    let points = points.into_iter().map(|(x, share)| (x, share * 100.0));
    chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    Ok(())
}

/// Draws the entries in two columns.
fn legend(area: &Area<'_>, left: i32, labels: &[String]) -> Result<()> {
    const ROW: i32 = 28;
    let (width, _) = area.dim_in_pixel();
    let column = (width as i32 - left) / 2;
    for (at, (label, colour)) in (0..).zip(labels.iter().zip(COLOURS)) {
        let (x, y) = (left + at % 2 * column, 20 + at / 2 * ROW);
        area.draw(&PathElement::new(vec![(x, y), (x + 28, y)], colour.stroke_width(5)))?;
        let style = text().pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(label.clone(), (x + 38, y), style))?;
    }
    Ok(())
}

fn detection(report: &Report, area: &Area<'_>) -> Result<()> {
    let (plot, below) = area.split_vertically(LEGEND_TOP);
    let settings = &report.settings;
    let mut chart = axes(&plot, "Skipping segments", 30.0, ["updates", "trainers caught, %"])?;
    for (skipped, colour) in SKIPPED.into_iter().zip(COLOURS) {
        let p = chance(settings.segments, skipped, settings.audit.segments);
        let points = (0..=120)
            .map(|n| f64::from(n) / 4.0)
            .map(|n| (n, 1.0 - (1.0 - p).powf(n)))
            .filter(|(n, _)| p < 1.0 || *n >= 1.0);
        curve(&mut chart, points, colour)?;
        for found in report.detection.iter().filter(|found| found.skipped == skipped) {
            dot(&mut chart, found.updates.into(), found.caught, colour)?;
        }
    }
    let label = |skipped| format!("{skipped} of {} skipped", settings.segments);
    legend(&below, 70, &SKIPPED.map(label))
}

fn collusion(report: &Report, area: &Area<'_>) -> Result<()> {
    type Figure = fn(&Collusion) -> &Estimate;
    let figures: [(&str, Figure); 4] = [
        ("cheat passes", |found| &found.passes),
        ("honest convicted", |found| &found.convicted),
        ("honest undecided", |found| &found.stalled),
        ("score set", |found| &found.score_set),
    ];
    let (plot, below) = area.split_vertically(LEGEND_TOP);
    let descriptions = ["stake that colludes, %", "updates, %"];
    let mut chart = axes(&plot, "Colluding validators", 70.0, descriptions)?;
    for ((_, figure), colour) in figures.into_iter().zip(COLOURS) {
        let exact = report.collusion.iter().map(|found| (found.stake, figure(found).expected));
        let exact = exact.map(|(stake, chance)| (stake * 100.0, chance));
        // Without colluders, a share that falls with their stake is 1, and one that grows is 0.
        let start = exact.clone().next().map_or(0.0, |(_, chance)| chance.round());
        curve(&mut chart, std::iter::once((0.0, start)).chain(exact), colour)?;
        for found in &report.collusion {
            dot(&mut chart, found.stake * 100.0, figure(found).rate, colour)?;
        }
    }
    legend(&below, 70, &figures.map(|(label, _)| label.to_owned()))
}

fn margins(report: &Report, area: &Area<'_>) -> Result<()> {
    const NAMES: i32 = 320;
    let bars: Vec<(&str, [f64; 2])> = report
        .trainers
        .iter()
        .filter_map(|found| Some((found.name, [found.margin?, found.margin_alone?])))
        .collect();
    let (plot, below) = area.split_vertically(LEGEND_TOP);
    let rows = bars.len() as f64;
    let mut chart = ChartBuilder::on(&plot)
        .caption("Deterrence", title())
        .margin(12)
        .margin_right(48)
        .x_label_area_size(56)
        .y_label_area_size(NAMES)
        .build_cartesian_2d((0.1..10_000.0).log_scale(), rows..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .axis_style(GREY.mix(0.25))
        .x_labels(6)
        .x_label_formatter(&|value: &f64| match value.round() as u32 {
            thousands @ 1_000.. => format!("{},000", thousands / 1_000),
            small => small.to_string(),
        })
        .label_style(text())
        .x_desc("p · (reward + bond) / compute saved")
        .draw()?;
    let right = text().pos(Pos::new(HPos::Right, VPos::Center));
    for (row, (name, margins)) in bars.into_iter().enumerate() {
        let top = row as f64;
        let name = Text::new(name.to_owned(), (-12, 0), right.clone());
        chart.draw_series([EmptyElement::at((0.1, top + 0.5)) + name])?;
        for (margin, (from, colour)) in
            margins.into_iter().zip([0.16, 0.52].into_iter().zip(COLOURS))
        {
            let end = margin.clamp(0.1, 10_000.0);
            let bar = [(1.0, top + from), (end, top + from + 0.32)];
            chart.draw_series([Rectangle::new(bar, colour.filled())])?;
        }
    }
    let break_even = vec![(1.0, 0.0), (1.0, rows)];
    chart.draw_series([PathElement::new(break_even, GREY.stroke_width(2))])?;
    legend(&below, NAMES, &["64 trainers".to_owned(), "1 trainer, at cost".to_owned()])
}
