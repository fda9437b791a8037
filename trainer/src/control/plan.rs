// SPDX-License-Identifier: Apache-2.0

//! The plan of a trainer: a state machine without effects, which requests change and the role asks.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use utoipa::ToSchema;

/// Request to a running trainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Take part from the next round on, for a number of rounds or without a bound.
    Join,
    /// Take no new lease. The work on a present one goes on.
    Pause,
    /// Undo a pause, or a stop that has not ended yet.
    Resume,
    /// Take no new lease, and end the process once its lease and its audits are over. Rewards that
    /// fall due later wait on the chain.
    Stop,
}

/// State of a trainer's plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PlanState {
    /// Takes leases.
    #[default]
    Running,
    /// Takes none until it is asked to.
    Paused,
    /// Takes none, and ends once nothing is open.
    Stopping,
    /// Has ended.
    Stopped,
}

/// Plan of a trainer. A process begins with leases without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    state: PlanState,
    /// Leases that may still be taken; `None` without a bound.
    rounds_left: Option<u32>,
}

impl Plan {
    /// Changes the plan as asked. The same request again changes nothing. `rounds` is the bound
    /// that [`Action::Join`] sets.
    pub(crate) fn ask(&mut self, action: Action, rounds: Option<NonZeroU32>) {
        if self.state == PlanState::Stopped {
            return;
        }
        match action {
            Action::Join => {
                (self.state, self.rounds_left) = (PlanState::Running, rounds.map(NonZeroU32::get));
            }
            Action::Resume => {
                self.state = PlanState::Running;
                // All rounds are done, so that going on means without a bound.
                self.rounds_left = self.rounds_left.filter(|left| *left > 0);
            }
            Action::Pause => self.state = PlanState::Paused,
            Action::Stop => self.state = PlanState::Stopping,
        }
    }

    /// Returns `true` if a lease may be taken now.
    pub(crate) fn may_lease(&self) -> bool {
        self.state() == PlanState::Running
    }

    /// Counts a lease that was taken.
    pub(crate) fn count_lease(&mut self) {
        self.rounds_left = self.rounds_left.map(|left| left.saturating_sub(1));
    }

    /// Takes back the count of a lease whose place went to another trainer.
    pub(crate) fn return_lease(&mut self) {
        self.rounds_left = self.rounds_left.map(|left| left.saturating_add(1));
    }

    /// Ends a plan that is stopping, unless it was changed in the meantime.
    pub(crate) fn end(&mut self) {
        if self.state == PlanState::Stopping {
            self.state = PlanState::Stopped;
        }
    }

    /// Returns the state. A plan whose rounds are done is paused.
    pub(crate) fn state(&self) -> PlanState {
        match (self.state, self.rounds_left) {
            (PlanState::Running, Some(0)) => PlanState::Paused,
            (state, _) => state,
        }
    }

    /// Returns the leases that may still be taken, or `None` without a bound.
    pub(crate) fn rounds_left(&self) -> Option<u32> {
        self.rounds_left
    }

    /// Describes the plan for people.
    pub(crate) fn sentence(&self) -> String {
        match (self.state(), self.rounds_left) {
            (PlanState::Running, None) => "takes a lease in each round".into(),
            (PlanState::Running, Some(1)) => "takes one more lease, and pauses then".into(),
            (PlanState::Running, Some(left)) => {
                format!("takes {left} more leases, and pauses then")
            }
            (PlanState::Paused, _) => {
                "takes no lease until it is asked to join or to resume".into()
            }
            (PlanState::Stopping, _) => {
                "takes no lease, and ends once its lease and the audits of its updates are over; \
                 rewards that fall due until then are claimed, and later ones wait on the chain \
                 for the next start"
                    .into()
            }
            (PlanState::Stopped, _) => "has ended".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(requests: &[(Action, u32)]) -> Plan {
        let mut plan = Plan::default();
        for (action, rounds) in requests {
            plan.ask(*action, NonZeroU32::new(*rounds));
        }
        plan
    }

    #[test]
    fn a_plan_begins_without_a_bound() {
        let mut plan = Plan::default();
        assert!(plan.may_lease());
        plan.count_lease();
        assert_eq!((plan.state(), plan.rounds_left()), (PlanState::Running, None));
    }

    #[test]
    fn requests_are_idempotent() {
        for (action, rounds) in
            [(Action::Join, 3), (Action::Join, 0), (Action::Pause, 0), (Action::Stop, 0)]
        {
            let once = asked(&[(action, rounds)]);
            assert_eq!(asked(&[(action, rounds), (action, rounds)]), once, "{action:?}");
        }
        let resumed = asked(&[(Action::Pause, 0), (Action::Resume, 0)]);
        assert_eq!(asked(&[(Action::Pause, 0), (Action::Resume, 0), (Action::Resume, 0)]), resumed);
    }

    #[test]
    fn rounds_are_counted_and_end_in_a_pause() {
        let mut plan = asked(&[(Action::Join, 2)]);
        plan.count_lease();
        plan.return_lease();
        plan.count_lease();
        assert_eq!((plan.may_lease(), plan.rounds_left()), (true, Some(1)));
        plan.count_lease();
        assert_eq!((plan.state(), plan.rounds_left()), (PlanState::Paused, Some(0)));
        plan.ask(Action::Resume, None);
        assert_eq!((plan.state(), plan.rounds_left()), (PlanState::Running, None));
    }

    #[test]
    fn a_pause_keeps_the_bound() {
        let mut plan = asked(&[(Action::Join, 5), (Action::Pause, 0)]);
        assert!(!plan.may_lease());
        plan.ask(Action::Resume, None);
        assert_eq!(plan.rounds_left(), Some(5));
    }

    #[test]
    fn a_stop_can_be_taken_back_until_it_has_ended() {
        let mut plan = asked(&[(Action::Stop, 0)]);
        assert_eq!((plan.may_lease(), plan.state()), (false, PlanState::Stopping));
        plan.ask(Action::Resume, None);
        plan.end();
        assert!(plan.may_lease());
        plan.ask(Action::Stop, None);
        plan.end();
        for action in [Action::Join, Action::Pause, Action::Resume, Action::Stop] {
            plan.ask(action, None);
            assert_eq!(plan.state(), PlanState::Stopped, "{action:?}");
        }
    }

    #[test]
    fn each_state_is_described() {
        for (requests, expected) in [
            (&[][..], "each round"),
            (&[(Action::Join, 1)], "one more lease"),
            (&[(Action::Join, 7)], "7 more leases"),
            (&[(Action::Pause, 0)], "until it is asked"),
            (&[(Action::Stop, 0)], "audits of its updates"),
            (&[(Action::Stop, 0)], "rewards that fall due until then are claimed"),
        ] {
            assert!(asked(requests).sentence().contains(expected), "{requests:?}");
        }
    }
}
