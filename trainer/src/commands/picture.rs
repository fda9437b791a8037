// SPDX-License-Identifier: Apache-2.0

//! Pictures of summaries: panels of bars with names.

use crate::display::format_amount;
use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use pol_primitives::{Balance, POL};

/// Millionths of a POL, the unit of amounts in pictures.
pub(super) const MICRO_POL: Balance = POL / 1_000_000;

/// Part of a picture: bars with names.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) rows: Vec<Row>,
}

/// Bar with its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    /// Lengths of the parts of the bar, from the left.
    pub(super) parts: Vec<u64>,
}

/// Unit of the values of a panel.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    /// Things that are counted, such as documents.
    Count,
    /// Millionths of a POL.
    MicroPol,
}

impl Row {
    /// Creates a bar of one part.
    pub(super) fn new((name, value): (String, u64)) -> Self {
        Self { name, parts: vec![value] }
    }

    /// Returns the length of the bar.
    pub(super) fn value(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }
}

impl Unit {
    /// Returns the values of a bar for people.
    pub(super) fn show(self, row: &Row) -> String {
        let parts: Vec<_> = row.parts.iter().map(|part| self.show_one(*part)).collect();
        parts.join(" + ")
    }

    fn show_one(self, value: u64) -> String {
        match self {
            Self::Bytes => size(value),
            Self::Count => value.to_string(),
            Self::MicroPol => format_amount(Balance::from(value).saturating_mul(MICRO_POL)),
        }
    }
}

/// Returns a number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Width of a picture in pixels.
const WIDTH: u32 = 1_400;
/// Height of a row of panels in pixels.
const HEIGHT: u32 = 460;
/// Left ends of the bars, and their greatest length, in pixels.
const BARS: (i32, i32) = (250, 330);
/// Distance between two bars, and height of the title, in pixels.
const ROW: (i32, i32) = (32, 50);
const FONT_SIZE: u32 = 17;
/// Most characters of a name.
const NAME_CHARACTERS: usize = 28;
/// Colours that read on light and on dark pages.
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x3d, 0x85, 0xc6),
    RGBColor(0x3f, 0xa0, 0x66),
    RGBColor(0xd9, 0x82, 0x2b),
    RGBColor(0xb5, 0x65, 0xb0),
    RGBColor(0x2f, 0x9a, 0xa0),
    RGBColor(0xc0, 0x50, 0x4d),
];
/// Opacities of the parts of a bar.
const OPACITIES: [f64; 3] = [1.0, 0.55, 0.25];

/// Draws panels as an SVG document, two beside each other.
pub(super) fn svg(panels: &[Panel]) -> Result<String> {
    let mut document = String::new();
    {
        let rows = panels.len().div_ceil(2);
        let height = u32::try_from(rows).unwrap_or(1).saturating_mul(HEIGHT);
        let root = SVGBackend::with_string(&mut document, (WIDTH, height)).into_drawing_area();
        let areas = root.split_evenly((rows, 2));
        for ((panel, area), colour) in panels.iter().zip(&areas).zip(COLOURS.into_iter().cycle()) {
            draw(panel, area, colour)?;
        }
        root.present()?;
    }
    Ok(document)
}

fn draw(panel: &Panel, area: &Area<'_>, colour: RGBColor) -> Result<()> {
    let font = ("sans-serif", FONT_SIZE).into_font();
    let text = font.color(&GREY);
    let title = font.style(FontStyle::Bold).color(&GREY);
    area.draw(&Text::new(panel.title, (BARS.0, 20), title))?;
    let right = text.pos(Pos::new(HPos::Right, VPos::Center));
    let left = text.pos(Pos::new(HPos::Left, VPos::Center));
    let most = panel.rows.iter().map(Row::value).max().unwrap_or(0).max(1);
    if panel.rows.is_empty() {
        area.draw(&Text::new("none", (BARS.0, ROW.1 + ROW.0 / 2), left))?;
        return Ok(());
    }
    for (row, number) in panel.rows.iter().zip(0i32..) {
        let middle = ROW.1 + number * ROW.0 + ROW.0 / 2;
        let (mut before, mut start) = (0u64, BARS.0);
        for (part, opacity) in row.parts.iter().zip(OPACITIES) {
            before = before.saturating_add(*part);
            let length = u128::from(before) * u128::from(BARS.1.unsigned_abs()) / u128::from(most);
            let end = BARS.0 + i32::try_from(length).unwrap_or(BARS.1);
            let bar = [(start, middle - ROW.0 / 3), (end, middle + ROW.0 / 3)];
            area.draw(&Rectangle::new(bar, colour.mix(opacity).filled()))?;
            start = end;
        }
        area.draw(&Text::new(shortened(&row.name), (BARS.0 - 10, middle), right.clone()))?;
        area.draw(&Text::new(panel.unit.show(row), (start + 8, middle), left.clone()))?;
    }
    Ok(())
}

/// Returns a name that fits beside a bar.
fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARACTERS {
        return name.to_owned();
    }
    name.chars().take(NAME_CHARACTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_names_and_parts() {
        let row = Row { name: "a & <b>".into(), parts: vec![30, 10, 60] };
        let panel = |unit, rows| Panel { title: "Shards", unit, rows };
        let earned = Row::new(("c".into(), 2_500_000));
        let picture =
            svg(&[panel(Unit::Count, vec![row]), panel(Unit::MicroPol, vec![earned])]).unwrap();
        assert!(picture.contains("30 + 10 + 60") && picture.contains("2.5 POL"), "{picture}");
        assert!(!picture.contains("<b>"), "names are escaped");
        assert!(svg(&[panel(Unit::Bytes, Vec::new())]).unwrap().contains("none"));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(12_345_678), "12.3 MB");
    }
}
