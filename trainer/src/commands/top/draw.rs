// SPDX-License-Identifier: Apache-2.0

//! Drawing of views: pages for a terminal, and all of them one below the other as plain text.

use super::{
    navigation::{Navigation, Page},
    news::Tone,
    view::{PHASES, View},
};
use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    symbols::Marker,
    text::{Line, Span},
    widgets::{
        Axis, Block, Cell, Chart, Dataset, GraphType, LineGauge, Paragraph, Row, Table, Widget,
    },
};
use std::env;

/// Smallest terminal that is drawn on.
const MIN_COLUMNS: u16 = 40;
const MIN_LINES: u16 = 12;
/// Lines of the round clock, with its border.
const CLOCK_LINES: u16 = 5;
/// Lines of the newest events on the overview, with their border.
const NEWS_LINES: u16 = 7;
/// Columns from which on the overview has a chart beside the members.
const CHART_COLUMNS: u16 = 72;
/// Columns of the bar of a measure.
const BAR_COLUMNS: usize = 30;
/// Lines of the chart and of the list of events in plain text.
const PLAIN_CHART_LINES: u16 = 12;
const PLAIN_EVENTS: usize = 20;

/// Styles, which do without colours where the user wants none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    has_colours: bool,
}

impl Theme {
    /// Text only.
    pub(super) const PLAIN: Self = Self { has_colours: false };

    /// Returns the theme that the environment asks for (<https://no-color.org>).
    pub(super) fn of_environment() -> Self {
        Self { has_colours: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Good => self.colour(Color::Green),
            Tone::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    fn border(self) -> Style {
        self.colour(Color::DarkGray)
    }

    fn heading(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn panel(self, title: &str) -> Block<'static> {
        let title = Span::styled(format!(" {title} "), self.heading());
        Block::bordered().border_style(self.border()).title(title)
    }
}

/// Draws the page that is shown.
pub(super) fn page(frame: &mut Frame<'_>, view: &View, navigation: &mut Navigation, theme: Theme) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < MIN_COLUMNS || area.height < MIN_LINES {
        let text = format!("The terminal is smaller than {MIN_COLUMNS} × {MIN_LINES}. q ends.");
        Paragraph::new(text).render(area, buffer);
        return;
    }
    let lines = [1, 1].map(Constraint::Length).into_iter();
    let lines = lines.chain([Constraint::Min(0), Constraint::Length(1)]);
    let [title, tabs, body, keys] = Layout::vertical(lines).areas(area);
    let canvas = Canvas { view, theme };
    canvas.title(title, buffer);
    canvas.tabs(navigation.page(), tabs, buffer);
    match canvas.list(navigation.page()) {
        Some(list) => {
            let first = navigation.first_line(list.rows.len(), list.visible(body));
            list.draw(first, theme, body, buffer);
        }
        None if navigation.page() == Page::Learning => canvas.learning(body, buffer),
        None => canvas.overview(body, buffer),
    }
    let help = "q quit · Tab or 1–6 page · ↑↓ PgUp PgDn scroll";
    Line::styled(help, theme.border()).render(keys, buffer);
}

/// Returns everything as plain text of at most so many columns.
pub(super) fn plain(view: &View, columns: u16) -> String {
    let canvas = Canvas { view, theme: Theme::PLAIN };
    let mut text = String::new();
    let mut add = |lines: u16, draw: &dyn Fn(Rect, &mut Buffer)| {
        let area = Rect::new(0, 0, columns, lines);
        let mut buffer = Buffer::empty(area);
        draw(area, &mut buffer);
        text.push_str(&text_of(&buffer));
    };
    add(1, &|area, buffer| canvas.title(area, buffer));
    add(CLOCK_LINES, &|area, buffer| canvas.clock(area, buffer));
    for page in Page::ALL {
        match canvas.list(page) {
            Some(mut list) => {
                if page == Page::Events {
                    list.rows.truncate(PLAIN_EVENTS);
                }
                let lines = list.lines();
                add(lines, &|area, buffer| list.draw(0, Theme::PLAIN, area, buffer));
            }
            None if page == Page::Learning => {
                let lines = PLAIN_CHART_LINES.saturating_add(canvas.measures().lines());
                add(lines, &|area, buffer| canvas.learning(area, buffer));
            }
            None => {}
        }
    }
    text
}

/// Returns the text of a buffer, without spaces at the ends of lines.
pub(super) fn text_of(buffer: &Buffer) -> String {
    let columns = usize::from(buffer.area.width).max(1);
    let lines = buffer.content().chunks(columns).map(|cells| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// List of rows, or a table if it has a header.
struct List {
    title: String,
    header: Vec<&'static str>,
    widths: Vec<Constraint>,
    rows: Vec<(Style, Vec<String>)>,
    /// Text where there are no rows.
    empty: &'static str,
}

impl List {
    fn header_lines(&self) -> u16 {
        u16::from(!self.header.is_empty())
    }

    /// Returns the number of lines that the whole list takes, with its border.
    fn lines(&self) -> u16 {
        let rows = u16::try_from(self.rows.len().max(1)).unwrap_or(u16::MAX);
        rows.saturating_add(2).saturating_add(self.header_lines())
    }

    /// Returns the number of rows that an area has room for.
    fn visible(&self, area: Rect) -> usize {
        area.height.saturating_sub(2).saturating_sub(self.header_lines()).into()
    }

    fn draw(&self, first: usize, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let (count, visible) = (self.rows.len(), self.visible(area));
        let mut title = self.title.clone();
        if count > visible {
            let last = first.saturating_add(visible).min(count);
            title.push_str(&format!(", {} to {last} of {count}", first.saturating_add(1)));
        }
        let block = theme.panel(&title);
        if count == 0 {
            Paragraph::new(self.empty).block(block).render(area, buffer);
            return;
        }
        let rows = self.rows.iter().skip(first).take(visible).map(|(style, cells)| {
            Row::new(cells.iter().map(|text| Cell::new(text.as_str()))).style(*style)
        });
        let mut table = Table::new(rows, self.widths.iter().copied()).block(block);
        if !self.header.is_empty() {
            table = table.header(Row::new(self.header.iter().copied()).style(theme.heading()));
        }
        Widget::render(table, area, buffer);
    }
}

/// View and theme of a frame.
struct Canvas<'a> {
    view: &'a View,
    theme: Theme,
}

impl Canvas<'_> {
    fn title(&self, area: Rect, buffer: &mut Buffer) {
        let (tone, link) = &self.view.link;
        let link = Line::styled(link.as_str(), self.theme.tone(*tone)).right_aligned();
        let [left, right] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(width_of(&link))])
                .spacing(1)
                .areas(area);
        Line::styled(self.view.title.as_str(), Modifier::BOLD).render(left, buffer);
        link.render(right, buffer);
    }

    fn tabs(&self, shown: Page, area: Rect, buffer: &mut Buffer) {
        let tabs = Page::ALL.into_iter().enumerate().map(|(place, page)| {
            let style = if page == shown {
                Style::new().add_modifier(Modifier::REVERSED)
            } else {
                Style::new()
            };
            Span::styled(format!(" {} {} ", place + 1, page.title()), style)
        });
        Line::from_iter(tabs).render(area, buffer);
    }

    fn overview(&self, area: Rect, buffer: &mut Buffer) {
        let lines = [
            Constraint::Length(CLOCK_LINES),
            Constraint::Fill(1),
            Constraint::Length(NEWS_LINES.min(area.height.saturating_sub(CLOCK_LINES) / 2)),
        ];
        let [clock, middle, news] = Layout::vertical(lines).areas(area);
        self.clock(clock, buffer);
        let mut members = middle;
        if area.width >= CHART_COLUMNS {
            let halves = [Constraint::Percentage(55), Constraint::Percentage(45)];
            let [left, right] = Layout::horizontal(halves).areas(middle);
            members = left;
            self.losses(right, buffer);
        }
        self.short_members().draw(0, self.theme, members, buffer);
        let mut events = self.events();
        events.rows.truncate(events.visible(news));
        events.draw(0, self.theme, news, buffer);
    }

    fn learning(&self, area: Rect, buffer: &mut Buffer) {
        let measures = self.measures();
        let lines = [Constraint::Fill(1), Constraint::Length(measures.lines())];
        let [chart, rest] = Layout::vertical(lines).areas(area);
        self.losses(chart, buffer);
        measures.draw(0, self.theme, rest, buffer);
    }

    fn clock(&self, area: Rect, buffer: &mut Buffer) {
        let clock = &self.view.clock;
        let block = self.theme.panel("Round");
        let inner = block.inner(area);
        block.render(area, buffer);
        let [round, phases, bar] = Layout::vertical([Constraint::Length(1); 3]).areas(inner);
        Line::from(clock.round.as_str()).render(round, buffer);
        let phase_names = PHASES.into_iter().map(|phase| {
            let name = format!("{phase:?}").to_lowercase();
            if phase == clock.phase {
                Span::styled(format!("[{name}] "), self.theme.heading())
            } else {
                Span::raw(format!("{name} "))
            }
        });
        let progress = Span::raw(format!("· {}", clock.progress));
        Line::from_iter(phase_names.chain([progress])).render(phases, buffer);
        match clock.share {
            Some(share) => LineGauge::default()
                .ratio(share)
                .label(clock.deadline.as_str())
                .filled_symbol("█")
                .unfilled_symbol("░")
                .filled_style(self.theme.colour(Color::Cyan))
                .unfilled_style(self.theme.border())
                .render(bar, buffer),
            None => Line::from(clock.deadline.as_str()).render(bar, buffer),
        }
    }

    fn losses(&self, area: Rect, buffer: &mut Buffer) {
        let points = &self.view.losses;
        let title = match (points.first(), points.last()) {
            (Some((_, first)), Some((_, last))) => format!("Loss {first:.3} → {last:.3}"),
            _ => "Loss".to_owned(),
        };
        let block = self.theme.panel(&title);
        if points.is_empty() {
            Paragraph::new("No model is measured yet.").block(block).render(area, buffer);
            return;
        }
        let [rounds, losses] = [
            range(points.iter().map(|point| point.0), 0.0),
            range(points.iter().map(|point| point.1), 0.05),
        ];
        let kind = if points.len() > 1 { GraphType::Line } else { GraphType::Scatter };
        let data = Dataset::default()
            .marker(Marker::Braille)
            .graph_type(kind)
            .style(self.theme.colour(Color::Yellow))
            .data(points);
        let x_axis = Axis::default()
            .bounds(rounds)
            .style(self.theme.border())
            .labels(rounds.map(|round| format!("{round:.0}")));
        let y_axis = Axis::default()
            .bounds(losses)
            .style(self.theme.border())
            .labels(losses.map(|loss| format!("{loss:.2}")));
        Chart::new(vec![data]).block(block).x_axis(x_axis).y_axis(y_axis).render(area, buffer);
    }

    /// Returns the list that a page consists of, if it does.
    fn list(&self, page: Page) -> Option<List> {
        match page {
            Page::Overview | Page::Learning => None,
            Page::Members => Some(self.members()),
            Page::Audits => Some(self.audits()),
            Page::Economy => Some(self.economy()),
            Page::Events => Some(self.events()),
        }
    }

    fn members(&self) -> List {
        let rows = self.view.members.iter().map(|row| (Style::new(), row.to_vec()));
        List {
            title: "Members".to_owned(),
            header: vec!["account", "role", "bond", "last action", "ago"],
            widths: [13, 9, 14]
                .map(Constraint::Length)
                .into_iter()
                .chain([Constraint::Fill(1), Constraint::Length(7)])
                .collect(),
            rows: rows.collect(),
            empty: "There are no members yet.",
        }
    }

    fn short_members(&self) -> List {
        let rows = self.view.members.iter().map(|[account, _, _, action, age]| {
            (Style::new(), vec![account.clone(), action.clone(), age.clone()])
        });
        List {
            header: vec!["account", "last action", "ago"],
            widths: vec![Constraint::Length(12), Constraint::Fill(1), Constraint::Length(6)],
            rows: rows.collect(),
            ..self.members()
        }
    }

    fn measures(&self) -> List {
        let rows = self.view.measures.iter().map(|(name, value)| {
            let cells = match value {
                Some(value) => [format!("{value:.3}"), bar(*value)],
                None => ["—".to_owned(), String::new()],
            };
            (Style::new(), [vec![(*name).to_owned()], cells.to_vec()].concat())
        });
        List {
            title: self.view.measured.clone(),
            header: Vec::new(),
            widths: vec![Constraint::Length(19), Constraint::Length(6), Constraint::Fill(1)],
            rows: rows.collect(),
            empty: "No model is measured yet.",
        }
    }

    fn audits(&self) -> List {
        let rows = self.view.audits.iter().map(|row| (Style::new(), row.to_vec()));
        List {
            title: "Open audits".to_owned(),
            header: vec!["audit", "round", "stage", "settled", "updates"],
            widths: [6, 6, 14, 8]
                .map(Constraint::Length)
                .into_iter()
                .chain([Constraint::Fill(1)])
                .collect(),
            rows: rows.collect(),
            empty: "No audit is open.",
        }
    }

    fn economy(&self) -> List {
        let account = self.view.account.iter().flatten();
        let heading = self.view.account.is_some().then_some(("", "this account".to_owned()));
        let rows = self.view.economy.iter().chain(heading.iter()).chain(account);
        let rows = rows.map(|(name, value)| {
            let style = if name.is_empty() { self.theme.heading() } else { Style::new() };
            (style, vec![(*name).to_owned(), value.clone()])
        });
        List {
            title: "Economy".to_owned(),
            header: Vec::new(),
            widths: vec![Constraint::Length(20), Constraint::Fill(1)],
            rows: rows.collect(),
            empty: "",
        }
    }

    fn events(&self) -> List {
        let rows = self.view.events.iter().map(|event| {
            let cells = vec![event.time.clone(), event.block.clone(), event.text.clone()];
            (self.theme.tone(event.tone), cells)
        });
        List {
            title: "Events (UTC)".to_owned(),
            header: Vec::new(),
            widths: vec![Constraint::Length(8), Constraint::Length(7), Constraint::Fill(1)],
            rows: rows.collect(),
            empty: "Nothing has happened in the last blocks.",
        }
    }
}

/// Returns the columns of a line.
fn width_of(line: &Line<'_>) -> u16 {
    u16::try_from(line.width()).unwrap_or(u16::MAX)
}

/// Returns the range of values, wider by a share of it, and never empty.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> [f64; 2] {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let margin = if high > low { (high - low) * margin } else { 0.5 };
    [low - margin, high + margin]
}

/// Returns a bar with a share filled.
fn bar(share: f64) -> String {
    let filled = (share.clamp(0.0, 1.0) * BAR_COLUMNS as f64).round() as usize;
    format!("{}{}", "█".repeat(filled), "░".repeat(BAR_COLUMNS.saturating_sub(filled)))
}

#[cfg(test)]
mod tests;
