// SPDX-License-Identifier: Apache-2.0

//! The page that is shown and its position, as keys change them.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Lines by which a page is turned if its height is not known yet.
const PAGE_LINES: usize = 10;

/// Page of the display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    Overview,
    Members,
    Learning,
    Audits,
    Economy,
    Events,
}

impl Page {
    /// All pages, in their order.
    pub(super) const ALL: [Self; 6] =
        [Self::Overview, Self::Members, Self::Learning, Self::Audits, Self::Economy, Self::Events];

    /// Returns the title.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Members => "Members",
            Self::Learning => "Learning",
            Self::Audits => "Audits",
            Self::Economy => "Economy",
            Self::Events => "Events",
        }
    }

    /// Returns the place among all pages.
    pub(super) fn place(self) -> usize {
        self as usize
    }

    /// Returns the page `steps` further, around the end.
    fn turned(self, steps: usize) -> Self {
        let place = (self.place() + steps) % Self::ALL.len();
        Self::ALL.get(place).copied().unwrap_or_default()
    }
}

/// Consequence of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Draw again.
    Stay,
    /// End the program.
    End,
}

/// Page that is shown, and the first line of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Navigation {
    page: Page,
    offsets: [usize; Page::ALL.len()],
    /// Lines of the page that were visible in the last frame.
    visible: usize,
}

impl Navigation {
    /// Returns the page that is shown.
    pub(super) fn page(&self) -> Page {
        self.page
    }

    /// Returns the first of `lines` to show where `visible` have room. The page does not scroll
    /// beyond its last line.
    pub(super) fn first_line(&mut self, lines: usize, visible: usize) -> usize {
        self.visible = visible;
        let limit = lines.saturating_sub(visible);
        let offset = self.offset_mut();
        *offset = (*offset).min(limit);
        *offset
    }

    fn offset_mut(&mut self) -> &mut usize {
        // Each page has its place.
        let place = self.page.place().min(self.offsets.len() - 1);
        &mut self.offsets[place]
    }

    /// Follows an input of the terminal.
    pub(super) fn handle(&mut self, event: &Event) -> Step {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.press(key),
            _ => Step::Stay,
        }
    }

    fn press(&mut self, key: &KeyEvent) -> Step {
        let page_lines = if self.visible > 0 { self.visible } else { PAGE_LINES };
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Step::End,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Step::End;
            }
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.page = self.page.turned(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.page = self.page.turned(Page::ALL.len() - 1);
            }
            KeyCode::Char(digit @ '1'..='9') => {
                let place = (digit as usize).saturating_sub('1' as usize);
                self.page = Page::ALL.get(place).copied().unwrap_or(self.page);
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll(|line| line.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(|line| line.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => {
                self.scroll(|line| line.saturating_add(page_lines));
            }
            KeyCode::PageUp => self.scroll(|line| line.saturating_sub(page_lines)),
            KeyCode::Home | KeyCode::Char('g') => self.scroll(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.scroll(|_| usize::MAX),
            _ => {}
        }
        Step::Stay
    }

    fn scroll(&mut self, change: impl FnOnce(usize) -> usize) {
        let offset = self.offset_mut();
        *offset = change(*offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> Event {
        Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_choose_pages() {
        let mut navigation = Navigation::default();
        for (code, page) in [
            (KeyCode::Tab, Page::Members),
            (KeyCode::Left, Page::Overview),
            (KeyCode::BackTab, Page::Events),
            (KeyCode::Right, Page::Overview),
            (KeyCode::Char('5'), Page::Economy),
            (KeyCode::Char('9'), Page::Economy),
            (KeyCode::Char('x'), Page::Economy),
        ] {
            assert_eq!(navigation.handle(&key(code)), Step::Stay);
            assert_eq!(navigation.page(), page, "{code:?}");
        }
    }

    #[test]
    fn pages_scroll_within_their_lines() {
        let mut navigation = Navigation::default();
        assert_eq!(navigation.first_line(100, 20), 0);
        for (code, line) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 21),
            (KeyCode::End, 80),
            (KeyCode::Char('j'), 80),
            (KeyCode::PageUp, 60),
            (KeyCode::Home, 0),
        ] {
            navigation.handle(&key(code));
            assert_eq!(navigation.first_line(100, 20), line, "{code:?}");
        }
        navigation.handle(&key(KeyCode::End));
        assert_eq!(navigation.first_line(3, 20), 0, "a short page does not scroll");
        navigation.handle(&key(KeyCode::Char('2')));
        assert_eq!(navigation.first_line(100, 20), 0, "each page has its position");
    }

    #[test]
    fn keys_end_the_program() {
        for end in [
            key(KeyCode::Char('q')),
            key(KeyCode::Esc),
            Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)),
        ] {
            assert_eq!(Navigation::default().handle(&end), Step::End);
        }
        for stay in [key(KeyCode::Char('c')), Event::Resize(3, 4), Event::FocusLost] {
            assert_eq!(Navigation::default().handle(&stay), Step::Stay);
        }
    }
}
