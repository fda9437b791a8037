// SPDX-License-Identifier: Apache-2.0

use super::super::{
    feed::{Link, Update},
    fixture::{empty, facts},
};
use super::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers},
};
use std::time::{Duration, Instant};

const NODE: &str = "ws://127.0.0.1:9944";

fn view() -> View {
    View::new(NODE, &Update::live(facts()))
}

fn terminal(columns: u16, lines: u16) -> Terminal<TestBackend> {
    Terminal::new(TestBackend::new(columns, lines)).unwrap()
}

/// Returns a frame after these keys.
fn frame(view: &View, (columns, lines): (u16, u16), keys: &[KeyCode]) -> String {
    let (mut terminal, mut navigation) = (terminal(columns, lines), Navigation::default());
    let mut draw = |navigation: &mut Navigation| {
        let drawn = terminal.draw(|frame| page(frame, view, navigation, Theme::PLAIN)).unwrap();
        text_of(drawn.buffer)
    };
    let mut text = draw(&mut navigation);
    for key in keys {
        navigation.handle(&Event::Key(KeyEvent::new(*key, KeyModifiers::NONE)));
        text = draw(&mut navigation);
    }
    text
}

/// Compares a frame with its snapshot, and shows it as it is if it differs.
fn assert_shows(frame: &str, snapshot: &str) {
    assert!(frame == snapshot, "\n{frame}");
}

#[test]
fn the_overview_fits_a_small_terminal() {
    assert_shows(&frame(&view(), (80, 24), &[]), "");
}

#[test]
fn members_are_listed_with_their_last_actions() {
    assert_shows(&frame(&view(), (80, 12), &[KeyCode::Char('2')]), "");
}

#[test]
fn learning_is_a_chart_and_measures() {
    assert_shows(&frame(&view(), (80, 24), &[KeyCode::Char('3')]), "");
}

#[test]
fn audits_are_listed_with_their_updates() {
    assert_shows(&frame(&view(), (80, 12), &[KeyCode::Char('4')]), "");
}

#[test]
fn money_and_the_own_account_scroll() {
    let keys = [KeyCode::Char('5'), KeyCode::End];
    assert_shows(&frame(&view(), (80, 20), &keys), "");
}

#[test]
fn a_network_without_anything_is_drawn() {
    let view = View::new(NODE, &Update::live(empty()));
    for (page, text) in [
        ('1', "no model yet"),
        ('2', "There are no members yet."),
        ('3', "No model is measured yet."),
        ('4', "No audit is open."),
        ('5', "free shards"),
        ('6', "Nothing has happened"),
    ] {
        let frame = frame(&view, (80, 24), &[KeyCode::Char(page)]);
        assert!(frame.contains(text), "{frame}");
    }
    assert!(plain(&view, 80).contains("between two rounds"));
}

#[test]
fn the_state_of_the_connection_is_shown() {
    let since = Instant::now() - Duration::from_secs(30);
    for (link, text) in [
        (Link::Live, " live\n"),
        (Link::Late(since), " no new block for 30 s\n"),
        (Link::Lost(since), " node lost 30 s ago, reconnecting\n"),
    ] {
        let view = View::new(NODE, &Update { link, ..Update::live(facts()) });
        let frame = frame(&view, (100, 24), &[]);
        assert!(
            frame.lines().next().is_some_and(|line| line.ends_with(text.trim_end())),
            "{frame}"
        );
    }
}

#[test]
fn terminals_of_all_sizes_are_drawn_on() {
    let view = view();
    for columns in [0, 1, 39, 40, 71, 72, 200] {
        for lines in [0, 1, 11, 12, 60] {
            for page in '1'..='6' {
                frame(&view, (columns, lines), &[KeyCode::Char(page), KeyCode::End]);
            }
        }
    }
    assert!(frame(&view, (39, 20), &[]).starts_with("The terminal is smaller than"));
}

#[test]
fn a_frame_of_the_same_view_writes_nothing() {
    let (view, mut terminal) = (view(), terminal(80, 24));
    let mut navigation = Navigation::default();
    let mut draw = || {
        let draw = |frame: &mut Frame<'_>| page(frame, &view, &mut navigation, Theme::PLAIN);
        terminal.draw(draw).unwrap().buffer.clone()
    };
    let (first, second) = (draw(), draw());
    assert!(first.diff(&second).is_empty());
}

#[test]
fn colours_can_be_left_out() {
    let (view, mut terminal) = (view(), terminal(80, 24));
    let mut colours = |has_colours| {
        let (theme, mut navigation) = (Theme { has_colours }, Navigation::default());
        let drawn = terminal.draw(|frame| page(frame, &view, &mut navigation, theme)).unwrap();
        drawn.buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(colours(true) && !colours(false));
}

#[test]
fn plain_text_has_all_pages() {
    let text = plain(&view(), 100);
    for part in [
        "ws://127.0.0.1:9944  block 200 (final 197)",
        "idle [train] reveal hold attest",
        "Members",
        "Loss 9.026 → 6.404",
        "self-awareness",
        "Open audits",
        "slashed             900 POL",
        "5 POL, and those of 1 open rounds",
        "900 POL of the bond of eve were seized",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100 && !line.contains('\x1b')));
}

#[test]
fn ranges_are_never_empty() {
    assert_eq!(range([2.0, 2.0].into_iter(), 0.05), [1.5, 2.5]);
    assert_eq!(range([1.0, 3.0].into_iter(), 0.0), [1.0, 3.0]);
    assert_eq!(bar(f64::NAN).chars().count(), BAR_COLUMNS);
}
