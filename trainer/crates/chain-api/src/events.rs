// SPDX-License-Identifier: Apache-2.0

//! `GET /chain-events`: what is new in the index, as server-sent events.
//!
//! One task reads what was added to the index and hands it to all streams.

use crate::{
    audits::DrawItem,
    failure::Failure,
    feed::{Feed, Notice},
    mind::MeasureItem,
    network::{PhaseItem, RoundItem},
    page::AsOf,
    penalties::PenaltyItem,
    state::ChainState,
    values::{Account, Digest, Time, billionths},
};
use axum::{extract::State, response::Response};
use futures::{StreamExt, stream};
use pol_api::{Problem, events::respond};
use pol_chain::BlockInfo;
use pol_index::{
    Index, IndexError, IndexedBlock, Lookup, MAX_PAGE, Order, Position, Range, Row,
    facts::Settlement as UpdateEnd,
    lookups::{Audits, Measurements, Penalties, Phases, Rounds, Settlements},
};
use pol_primitives::submission::Outcome;
use serde::Serialize;
use std::{collections::VecDeque, ops::RangeInclusive, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Blocks that are looked back at, and reported at once.
const WINDOW: u32 = 64;
/// Longest time between two looks at the index, which another process may write.
const POLL: Duration = Duration::from_secs(1);

/// Beginning of a stream.
#[derive(Serialize)]
struct Hello {
    as_of: Option<AsOf>,
    /// Reason why the index is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// New block.
#[derive(Serialize)]
struct BlockNotice {
    number: u32,
    hash: Digest,
    author: Option<Account>,
    time: Time,
    #[serde(rename = "final")]
    finalised: Option<u32>,
}

/// Blocks above a height that were taken back.
#[derive(Serialize)]
struct ReorganisedNotice {
    after: u32,
}

/// Blocks that are not reported.
#[derive(Serialize)]
struct SkippedNotice {
    from: u32,
    to: u32,
}

/// End of an update.
#[derive(Serialize)]
struct SettledNotice {
    round: u32,
    account: Account,
    outcome: Option<Outcome>,
    score: f64,
    gain: f64,
    block: u32,
    time: Time,
}

impl From<Row<UpdateEnd>> for SettledNotice {
    fn from(Row { at, time, fact }: Row<UpdateEnd>) -> Self {
        Self {
            round: fact.round,
            account: Account(fact.account),
            outcome: fact.outcome,
            score: billionths(fact.score),
            gain: billionths(fact.gain),
            block: at.block,
            time: Time::new(time),
        }
    }
}

/// Change of whether a node answers.
#[derive(Serialize)]
struct NodeNotice {
    answers: bool,
}

/// Publishes for ever what is new in the index: at once when `indexed` is notified, and otherwise
/// within a second.
pub(crate) async fn publish(index: Index, feed: Feed, indexed: Arc<Notify>) {
    let mut reported = Reported::default();
    loop {
        if let Err(error) = reported.step(&index, &feed).await {
            tracing::warn!(%error, "cannot read what is new in the index");
        }
        let _ = timeout(POLL, indexed.notified()).await;
    }
}

/// Publishes for ever whether a node answers, whenever that changes.
pub(crate) async fn publish_node<T>(mut node: watch::Receiver<Option<T>>, feed: Feed) {
    let mut answers = node.borrow_and_update().is_some();
    while node.changed().await.is_ok() {
        let now = node.borrow_and_update().is_some();
        if now != answers {
            answers = now;
            feed.send(Notice::new("node", &NodeNotice { answers }));
        }
    }
}

/// Last blocks that were reported, oldest first.
#[derive(Default)]
struct Reported {
    blocks: VecDeque<BlockInfo>,
    is_started: bool,
}

impl Reported {
    /// Reports what is new.
    async fn step(&mut self, index: &Index, feed: &Feed) -> Result<(), IndexError> {
        if self.is_started && self.blocks.back() == index.last_block().await?.as_ref() {
            return Ok(());
        }
        let mut newest = index.blocks(None, WINDOW).await?;
        newest.reverse();
        if !self.is_started || !feed.has_streams() {
            self.blocks = newest.iter().map(|block| block.block).collect();
            self.is_started = true;
            feed.open();
            return Ok(());
        }
        let next = self.retract(&newest, feed);
        newest.retain(|block| block.block.number >= next);
        let Some((first, last)) = newest.first().zip(newest.last()) else { return Ok(()) };
        let (first, last) = (first.block.number, last.block.number);
        if let Some(to) = first.checked_sub(1).filter(|to| *to >= next) {
            feed.send(Notice::new("skipped", &SkippedNotice { from: next, to }));
        }
        let finalised = index.finalised_block().await?.map(|block| block.number);
        for notice in notices(index, &newest, first..=last, finalised).await? {
            feed.send(notice);
        }
        self.blocks.extend(newest.iter().map(|block| block.block));
        while self.blocks.len() > WINDOW as usize {
            self.blocks.pop_front();
        }
        Ok(())
    }

    /// Forgets the blocks that the index does not have any more, and says so. Returns the height of
    /// the first block that is not reported.
    fn retract(&mut self, newest: &[IndexedBlock], feed: &Feed) -> u32 {
        let oldest = newest.first().map_or(0, |block| block.block.number);
        let reported = self.blocks.len();
        // Blocks before the window are taken back with those above them.
        let is_gone = |last: &BlockInfo| {
            last.number >= oldest && newest.iter().all(|block| block.block != *last)
        };
        while self.blocks.back().is_some_and(is_gone) {
            self.blocks.pop_back();
        }
        let is_reorganised = self.blocks.len() < reported;
        let next = match self.blocks.back() {
            Some(last) => last.number.saturating_add(1),
            None if is_reorganised => oldest,
            None => 0,
        };
        if is_reorganised {
            let after = next.saturating_sub(1);
            feed.send(Notice::new("reorganised", &ReorganisedNotice { after }));
        }
        next
    }
}

/// Returns the notices of blocks and of the facts in them, in their order.
async fn notices(
    index: &Index,
    new: &[IndexedBlock],
    heights: RangeInclusive<u32>,
    finalised: Option<u32>,
) -> Result<Vec<Notice>, IndexError> {
    let mut notices: Vec<((u32, Option<u32>), Notice)> = new
        .iter()
        .map(|block| {
            let notice = BlockNotice {
                number: block.block.number,
                hash: Digest(block.block.hash),
                author: block.author.map(Account),
                time: Time::new(block.time),
                finalised,
            };
            ((block.block.number, None), Notice::new("block", &notice))
        })
        .collect();
    let facts = Facts { index, heights };
    facts.add::<_, PhaseItem>("phase", Phases::All, &mut notices).await?;
    facts.add::<_, RoundItem>("round", Rounds::All, &mut notices).await?;
    facts.add::<_, MeasureItem>("measured", Measurements::All, &mut notices).await?;
    facts.add::<_, DrawItem>("audit", Audits::All, &mut notices).await?;
    facts.add::<_, SettledNotice>("settled", Settlements::All, &mut notices).await?;
    facts.add::<_, PenaltyItem>("penalty", Penalties::All, &mut notices).await?;
    notices.sort_by_key(|(at, _)| *at);
    Ok(notices.into_iter().map(|(_, notice)| notice).collect())
}

/// Facts of some blocks.
struct Facts<'a> {
    index: &'a Index,
    heights: RangeInclusive<u32>,
}

impl Facts<'_> {
    /// Adds the notices of facts of one kind, by their places.
    async fn add<L: Lookup, T: From<Row<L::Fact>> + Serialize>(
        &self,
        name: &'static str,
        lookup: L,
        notices: &mut Vec<((u32, Option<u32>), Notice)>,
    ) -> Result<(), IndexError> {
        let before = self.heights.start().checked_sub(1);
        let after = before.map(|block| Position { block, item: u32::MAX });
        let range = Range { order: Order::OldestFirst, after, limit: MAX_PAGE };
        for row in self.index.page(lookup, range).await?.items {
            let at = row.at;
            if at.block <= *self.heights.end() {
                notices.push(((at.block, Some(at.item)), Notice::new(name, &T::from(row))));
            }
        }
        Ok(())
    }
}

/// Streams what is new on the chain, as server-sent events.
///
/// `hello` comes first, with the last block of the index, or in `trouble` the reason why the index
/// is that of another chain. Then come, in the order of the chain,
/// `block`, `phase`, `round` (a round ended), `measured` (a head was), `audit` (one was drawn),
/// `settled` (an update ended), and `penalty`, with the fields that the lists have. `reorganised`
/// says that the blocks after a height were taken back, `skipped` that some are not reported,
/// `node` that a node begins or ceases to answer, and `lag` that the client was too slow: the
/// stream ends then.
#[utoipa::path(
    get,
    path = "/chain-events",
    tag = "Chain",
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn events(State(state): State<ChainState>) -> Result<Response, Failure> {
    let subscription = state.feed().subscribe(state.patience()).await?;
    let trouble = state.check_index().err().map(|Failure(error)| error.to_string());
    let hello = Notice::new("hello", &Hello { as_of: state.as_of().await.ok(), trouble });
    let rest = stream::unfold(subscription, |mut subscription| async move {
        subscription.next().await.map(|event| (event, subscription))
    });
    Ok(respond(stream::iter([hello.event()]).chain(rest)))
}

/// Returns the endpoint.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(events)).with_state(state)
}
