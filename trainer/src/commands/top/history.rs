// SPDX-License-Identifier: Apache-2.0

//! The last blocks: lines of their events, and the last action of each member in them.

use super::news::{Tone, action_of, line_of};
use pol_chain::{AccountId, BlockContent, BlockInfo};
use pol_primitives::round::BlockNumber;
use std::collections::{BTreeMap, VecDeque};

/// Blocks whose events are read from before the start.
pub(super) const MAX_BLOCKS: BlockNumber = 60;
/// Lines of events that are kept.
const MAX_LINES: usize = 200;
/// Members whose last action is kept.
const MAX_ACTIONS: usize = 4_096;

/// Line of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewsLine {
    /// Block of the event.
    pub(super) block: BlockNumber,
    /// Time of the block in milliseconds since 1970.
    pub(super) time: u64,
    /// Weight of the event.
    pub(super) tone: Tone,
    /// Text for people.
    pub(super) text: String,
}

/// Last action of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Action {
    /// Block of the action.
    pub(super) block: BlockNumber,
    /// Text for people.
    pub(super) text: String,
}

/// Events of the last blocks of one fork.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    last: Option<BlockInfo>,
    lines: VecDeque<NewsLine>,
    actions: BTreeMap<AccountId, Action>,
}

impl History {
    /// Returns the newest block that was noted.
    pub(super) fn last(&self) -> Option<BlockInfo> {
        self.last
    }

    /// Returns the lines of events, newest first.
    pub(super) fn lines(&self) -> impl Iterator<Item = &NewsLine> {
        self.lines.iter().rev()
    }

    /// Returns the last action of a member.
    pub(super) fn action(&self, account: &AccountId) -> Option<&Action> {
        self.actions.get(account)
    }

    /// Notes the next block. Returns `false`, and notes nothing, if it is not on top of the last
    /// one.
    pub(super) fn push(&mut self, content: &BlockContent) -> bool {
        let (block, time) = (content.block, content.time);
        if self.last.is_some_and(|last| last.hash != content.parent) {
            return false;
        }
        self.last = Some(block);
        for event in content.events.iter().map(|event| &event.event) {
            if let Some((tone, text)) = line_of(event) {
                self.lines.push_back(NewsLine { block: block.number, time, tone, text });
            }
            if let Some((account, text)) = action_of(event) {
                self.actions.insert(account, Action { block: block.number, text });
            }
        }
        while self.lines.len() > MAX_LINES {
            self.lines.pop_front();
        }
        if self.actions.len() > MAX_ACTIONS {
            let oldest = block.number.saturating_sub(MAX_BLOCKS);
            self.actions.retain(|_, action| action.block > oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_chain::{BlockEvent, ChainEvent};

    fn block(number: BlockNumber, parent: u8, events: &[ChainEvent]) -> BlockContent {
        BlockContent {
            block: BlockInfo { number, hash: [number as u8; 32] },
            parent: [parent; 32],
            time: 0,
            author: None,
            extrinsics: Vec::new(),
            events: events
                .iter()
                .map(|event| BlockEvent { extrinsic: None, event: event.clone() })
                .collect(),
        }
    }

    #[test]
    fn the_last_action_of_a_member_is_kept() {
        let account = [7; 32];
        let mut history = History::default();
        let committed = ChainEvent::Committed { account, round: 5 };
        let claimed = ChainEvent::Claimed { who: account, round: 2, amount: 0 };
        assert!(history.push(&block(4, 3, &[committed, ChainEvent::RoundVoid { number: 5 }])));
        assert_eq!(history.action(&account).unwrap().text, "committed to 5");
        assert!(history.push(&block(5, 4, &[claimed])));
        assert_eq!(
            history.action(&account),
            Some(&Action { block: 5, text: "was paid 0 POL".to_owned() })
        );
        let blocks: Vec<_> = history.lines().map(|line| line.block).collect();
        assert_eq!(blocks, [5, 4, 4], "newest first");
        assert_eq!(history.action(&[8; 32]), None);
    }

    #[test]
    fn a_block_of_another_fork_is_refused() {
        let mut history = History::default();
        assert!(history.push(&block(4, 3, &[])));
        assert!(!history.push(&block(5, 9, &[ChainEvent::RoundVoid { number: 5 }])));
        assert_eq!(history.last().unwrap().number, 4);
        assert_eq!(history.lines().count(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        let events = vec![ChainEvent::RoundVoid { number: 5 }; MAX_LINES + 7];
        assert!(history.push(&block(1, 0, &events)));
        assert_eq!(history.lines().count(), MAX_LINES);
    }
}
