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

const OVERVIEW: &str = "\
ws://127.0.0.1:9944  block 200 (final 197)                                  live
\x201 Overview  2 Members  3 Learning  4 Audits  5 Economy  6 Events
┌ Round ───────────────────────────────────────────────────────────────────────┐
│round 7 · model 0xabababab… of round 6, 491520 tokens                         │
│idle [train] reveal hold attest · 2 leases, 1 committed, 0 revealed           │
│at most 75 more blocks, 4 min ████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░│
└──────────────────────────────────────────────────────────────────────────────┘
┌ Members ─────────────────────────────────┐┌ Loss 9.026 → 6.404 ──────────────┐
│account      last action            ago   ││9.16│⠢⢄⡀                          │
│trainer-1    committed to 7         24 s  ││    │  ⠈⠑⠢⢄                       │
│eve          bond too small; lost 9 3 s   ││    │      ⠉⠒⠤⡀                   │
│alice        measured 6             2 min ││    │         ⠈⠑⠢⠤⣀⣀⣀             │
│                                          ││6.27│                ⠉⠉⠉⠉⠑⠒⠒⠒⠒⠒⠤⠤⠤│
│                                          ││    └─────────────────────────────│
│                                          ││    1                            6│
└──────────────────────────────────────────┘└──────────────────────────────────┘
┌ Events (UTC) ────────────────────────────────────────────────────────────────┐
│08:09:57 #199    900 POL of the bond of eve were seized                       │
│08:09:57 #199    audit 3: the update of eve in round 4 is invalid, taken out  │
│08:09:36 #192    trainer-1 committed to round 7                               │
│08:08:48 #176    eve leased 8 shards for round 7                              │
│                                                                              │
└──────────────────────────────────────────────────────────────────────────────┘
q quit · Tab or 1–6 page · ↑↓ PgUp PgDn scroll
";
const MEMBERS: &str = "\
ws://127.0.0.1:9944  block 200 (final 197)                                  live
\x201 Overview  2 Members  3 Learning  4 Audits  5 Economy  6 Events
┌ Members ─────────────────────────────────────────────────────────────────────┐
│account       role      bond           last action                     ago    │
│trainer-1     trainer   1000 POL       committed to 7                  24 s   │
│eve           trainer   100 POL        bond too small; lost 900 POL    3 s    │
│alice         authority 10000 POL      measured 6                      2 min  │
│                                                                              │
│                                                                              │
│                                                                              │
└──────────────────────────────────────────────────────────────────────────────┘
q quit · Tab or 1–6 page · ↑↓ PgUp PgDn scroll
";
const LEARNING: &str = "\
ws://127.0.0.1:9944  block 200 (final 197)                                  live
\x201 Overview  2 Members  3 Learning  4 Audits  5 Economy  6 Events
┌ Loss 9.026 → 6.404 ──────────────────────────────────────────────────────────┐
│9.16│⠒⠤⣀⡀                                                                     │
│    │   ⠈⠉⠒⠤⢄⣀                                                                │
│    │         ⠉⠒⠢⠤⣀                                                           │
│    │              ⠉⠑⠒⠤⢄⣀                                                     │
│    │                    ⠉⠑⠢⠤⣀⡀                                               │
│    │                         ⠈⠉⠒⠢⠤⠤⣀⣀⣀⡀                                      │
│    │                                  ⠈⠉⠉⠉⠑⠒⠒⠒⠤⠤⠤⠤⣀⣀⣀⣀⣀                      │
│6.27│                                                   ⠉⠉⠉⠉⠉⠒⠒⠒⠒⠒⠒⠒⠒⠒⠢⠤⠤⠤⠤⠤⠤⠤│
│    └─────────────────────────────────────────────────────────────────────────│
│    1                                                                        6│
└──────────────────────────────────────────────────────────────────────────────┘
┌ Measures of round 6, by 100 % of the stake ──────────────────────────────────┐
│level               —                                                         │
│self-awareness      0.700  █████████████████████░░░░░░░░░                     │
│reasoning           0.250  ████████░░░░░░░░░░░░░░░░░░░░░░                     │
│introspection       —                                                         │
│coherence           —                                                         │
│meta-cognition      —                                                         │
│expert utilisation  0.900  ███████████████████████████░░░                     │
└──────────────────────────────────────────────────────────────────────────────┘
q quit · Tab or 1–6 page · ↑↓ PgUp PgDn scroll
";
const AUDITS: &str = "\
ws://127.0.0.1:9944  block 200 (final 197)                                  live
\x201 Overview  2 Members  3 Learning  4 Audits  5 Economy  6 Events
┌ Open audits ─────────────────────────────────────────────────────────────────┐
│audit  round  stage          settled  updates                                 │
│4      5      replay         1 of 2   trainer-1 settled, eve shown            │
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
└──────────────────────────────────────────────────────────────────────────────┘
q quit · Tab or 1–6 page · ↑↓ PgUp PgDn scroll
";
const ECONOMY: &str = "\
ws://127.0.0.1:9944  block 200 (final 197)                                  live
\x201 Overview  2 Members  3 Learning  4 Audits  5 Economy  6 Events
┌ Economy, 6 to 20 of 20 ──────────────────────────────────────────────────────┐
│stake of validators  15000 POL                                                │
│trainers             1                                                        │
│validators           1                                                        │
│free shards          96                                                       │
│                     this account                                             │
│account              trainer-1                                                │
│address              5DyvcmD6r48k2zU8u26jZqNeQ2U3tBdJ1mhtRkabJV7XpSsE         │
│free                 8000 POL                                                 │
│held                 1000 POL                                                 │
│role                 trainer                                                  │
│bond                 1000 POL                                                 │
│locked for audits    0 POL                                                    │
│open audits          0                                                        │
│rewards in escrow    5 POL; rounds not settled: 1                             │
│last action          committed to 7, 24 s ago                                 │
└──────────────────────────────────────────────────────────────────────────────┘
q quit · Tab or 1–6 page · ↑↓ PgUp PgDn scroll
";

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
    assert_shows(&frame(&view(), (80, 24), &[]), OVERVIEW);
}

#[test]
fn members_are_listed_with_their_last_actions() {
    assert_shows(&frame(&view(), (80, 12), &[KeyCode::Char('2')]), MEMBERS);
}

#[test]
fn learning_is_a_chart_and_measures() {
    assert_shows(&frame(&view(), (80, 24), &[KeyCode::Char('3')]), LEARNING);
}

#[test]
fn audits_are_listed_with_their_updates() {
    assert_shows(&frame(&view(), (80, 12), &[KeyCode::Char('4')]), AUDITS);
}

#[test]
fn money_and_the_own_account_scroll() {
    let keys = [KeyCode::Char('5'), KeyCode::End];
    assert_shows(&frame(&view(), (80, 20), &keys), ECONOMY);
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
    // A test that is held up for some seconds shows the same.
    let since = Instant::now() - Duration::from_secs(30 * 60);
    for (link, text) in [
        (Link::Live, " live\n"),
        (Link::Late(since), " no new block for 30 min\n"),
        (Link::Lost(since), " node lost 30 min ago, reconnecting\n"),
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
        "slashed              900 POL",
        "5 POL; rounds not settled: 1",
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
