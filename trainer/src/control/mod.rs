// SPDX-License-Identifier: Apache-2.0

//! Handle between a role and those who watch or steer it.
//!
//! The role asks the handle at its decision points and reports to it; requests change it. Neither
//! waits for the other: the state is a value that is replaced, and events that a slow reader does
//! not take are lost for that reader alone.

mod history;
mod plan;
mod report;

pub(crate) use history::{History, SegmentFigures, UpdateFigures};
pub(crate) use plan::{Action, PlanState};
pub(crate) use report::{
    Activity, ActivityKind, GradientFigures, LocalEpoch, LocalState, Progress, WorkEvent,
};

use crate::display::utc_now;
use plan::Plan;
use pol_primitives::RoundNumber;
use report::Facts;
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::{broadcast, watch};

/// Events that a reader may be behind.
const EVENT_BACKLOG: usize = 256;

/// State of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WorkState {
    /// Plan of a trainer.
    plan: Plan,
    /// Activity.
    pub(crate) activity: Activity,
    /// Progress of the lease under way.
    pub(crate) progress: Option<Progress>,
    /// Facts.
    pub(crate) facts: Facts,
}

impl WorkState {
    /// Returns the state of the plan, its bound, and its description.
    pub(crate) fn plan(&self) -> (PlanState, Option<u32>, String) {
        (self.plan.state(), self.plan.rounds_left(), self.plan.sentence())
    }
}

/// Handle of the work of a process. Clones are of the same process.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    state: Arc<watch::Sender<WorkState>>,
    events: broadcast::Sender<WorkEvent>,
    history: Arc<Mutex<History>>,
    started: Instant,
    started_at: Arc<str>,
}

impl Default for Control {
    fn default() -> Self {
        let now = utc_now();
        let activity = Activity { since: now.clone(), ..Activity::default() };
        let state = watch::Sender::new(WorkState { activity, ..WorkState::default() });
        Self {
            state: Arc::new(state),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            history: Arc::default(),
            started: Instant::now(),
            started_at: now.into(),
        }
    }
}

impl Control {
    /// Creates the handle of a process that acts in `role`.
    pub(crate) fn new(role: &'static str) -> Self {
        let control = Self::default();
        control.describe(|facts| facts.role = role);
        control
    }

    /// Returns the present state.
    pub(crate) fn state(&self) -> WorkState {
        self.state.borrow().clone()
    }

    /// Returns the events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<WorkEvent> {
        self.events.subscribe()
    }

    /// Returns the start of the process, in UTC and as an instant.
    pub(crate) fn started(&self) -> (&str, Instant) {
        (&self.started_at, self.started)
    }

    /// Changes the facts.
    pub(crate) fn describe(&self, change: impl FnOnce(&mut Facts)) {
        self.state.send_modify(|state| change(&mut state.facts));
    }

    /// Changes the plan as asked. `rounds` is the bound that [`Action::Join`] sets.
    pub(crate) fn ask(&self, action: Action, rounds: Option<NonZeroU32>) {
        self.change_plan(|plan| plan.ask(action, rounds));
    }

    /// Returns `true` if a lease may be taken now.
    pub(crate) fn may_lease(&self) -> bool {
        self.state.borrow().plan.may_lease()
    }

    /// Ends a plan that is stopping.
    pub(crate) fn end(&self) {
        self.change_plan(Plan::end);
        if self.has_ended() {
            self.note(ActivityKind::Stopped, None, "has ended as it was asked to");
        }
    }

    fn has_ended(&self) -> bool {
        self.state.borrow().plan.state() == PlanState::Stopped
    }

    /// Waits until the plan has ended.
    pub(crate) async fn ended(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as this handle.
        let _ = state.wait_for(|state| state.plan.state() == PlanState::Stopped).await;
    }

    /// Notes a lease that was taken.
    pub(crate) fn note_lease(&self, progress: Progress, tokens: u64) {
        let (round, shards) = (progress.round, progress.shards);
        self.change_plan(Plan::count_lease);
        self.state.send_modify(|state| state.progress = Some(progress));
        self.send(WorkEvent::Lease { round, shards, tokens });
    }

    /// Notes that the place of a lease went to another trainer.
    pub(crate) fn note_lost_lease(&self) {
        self.change_plan(Plan::return_lease);
        self.state.send_modify(|state| state.progress = None);
    }

    /// Notes a segment that was trained.
    pub(crate) fn note_segment(&self, progress: Progress) {
        self.history().add_segment(&progress);
        self.state.send_modify(|state| state.progress = Some(progress.clone()));
        self.send(WorkEvent::Segment(progress));
    }

    /// Notes an update that was made, which moves the parameters so far.
    pub(crate) fn note_update(&self, round: RoundNumber, movement: f64) {
        self.history().add_update(round, movement);
    }

    /// Returns the figures of the training so far.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the end of a lease.
    pub(crate) fn note_outcome(&self, round: RoundNumber, included: bool, sentence: &str) {
        self.state.send_modify(|state| state.progress = None);
        self.send(WorkEvent::Outcome { round, included, sentence: sentence.into() });
    }

    /// Notes the activity. One that goes on keeps its time.
    pub(crate) fn note(&self, kind: ActivityKind, round: Option<RoundNumber>, sentence: &str) {
        self.state.send_if_modified(|state| {
            let activity = &mut state.activity;
            let is_other = (activity.kind, activity.round) != (kind, round);
            let changes = is_other || activity.sentence != sentence;
            if is_other {
                activity.since = utc_now();
            }
            if changes {
                (activity.kind, activity.round) = (kind, round);
                activity.sentence = sentence.into();
            }
            changes
        });
    }

    /// Notes the activity of a trainer without a lease.
    pub(crate) fn note_no_lease(&self, kind: ActivityKind, sentence: &str) {
        self.state.send_if_modified(|state| state.progress.take().is_some());
        self.note(kind, None, sentence);
    }

    /// Sends an event to those who listen.
    pub(crate) fn send(&self, event: WorkEvent) {
        // Nobody listens, which is fine.
        let _ = self.events.send(event);
    }

    /// Sets the metric of the plan of a trainer.
    pub(crate) fn measure_plan(&self) {
        pol_metrics::trainer().paused.set(u8::from(!self.may_lease()).into());
    }

    fn change_plan(&self, change: impl FnOnce(&mut Plan)) {
        let mut event = None;
        self.state.send_if_modified(|state| {
            let before = state.plan;
            change(&mut state.plan);
            let changed = state.plan != before;
            event = changed.then(|| WorkEvent::plan(&state.plan));
            changed
        });
        if let Some(event) = event {
            self.measure_plan();
            self.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(receiver: &mut broadcast::Receiver<WorkEvent>) -> Vec<WorkEvent> {
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    #[test]
    fn changes_of_the_plan_are_events_and_repeated_requests_are_none() {
        let control = Control::new("trainer");
        let mut receiver = control.events();
        control.ask(Action::Pause, None);
        control.ask(Action::Pause, None);
        let seen = events(&mut receiver);
        assert!(matches!(seen[..], [WorkEvent::Plan { state: PlanState::Paused, .. }]), "{seen:?}");
        assert!(!control.may_lease());
    }

    #[test]
    fn a_lease_counts_and_reports_its_progress() {
        let control = Control::new("trainer");
        control.ask(Action::Join, NonZeroU32::new(1));
        let mut receiver = control.events();
        control.note_lease(Progress { round: 3, shards: 2, ..Progress::default() }, 100);
        assert!(!control.may_lease());
        assert_eq!(control.state().progress.map(|progress| progress.round), Some(3));
        let lease = WorkEvent::Lease { round: 3, shards: 2, tokens: 100 };
        assert!(events(&mut receiver).contains(&lease));
        control.note_lost_lease();
        assert!(control.may_lease() && control.state().progress.is_none());
    }

    #[test]
    fn an_activity_that_goes_on_keeps_its_time() {
        let control = Control::new("trainer");
        let note = |sentence| {
            control.note(ActivityKind::Training, Some(1), sentence);
            control.state().activity
        };
        let (first, second) = (note("begins"), note("goes on"));
        assert_eq!(first.since, second.since);
        assert_eq!(second.sentence, "goes on");
    }

    #[tokio::test]
    async fn only_a_plan_that_stops_ends() {
        let control = Control::new("trainer");
        control.end();
        assert_eq!(control.state().plan().0, PlanState::Running);
        control.ask(Action::Stop, None);
        assert_eq!(control.state().plan().0, PlanState::Stopping);
        let waiting = tokio::spawn({
            let control = control.clone();
            async move { control.ended().await }
        });
        control.end();
        waiting.await.unwrap();
        assert_eq!(control.state().activity.kind, ActivityKind::Stopped);
    }

    #[test]
    fn a_slow_reader_loses_events_alone() {
        let control = Control::new("trainer");
        let mut slow = control.events();
        for round in 0..1_000 {
            control.send(WorkEvent::Commit { round });
        }
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        assert_eq!(events(&mut slow).len(), EVENT_BACKLOG);
    }
}
