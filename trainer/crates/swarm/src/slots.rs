// SPDX-License-Identifier: Apache-2.0

//! Slots for connections: who gets one, and who gives one up.
//!
//! Anybody can make keys, and open connections with them. A server that lets the first ones in and
//! refuses the rest therefore serves nobody but a stranger who comes first. Here the newest one
//! always comes in, and whoever takes most makes room, so that a peer with few connections keeps
//! them and a peer with many displaces itself.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// Connections that count as one peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// Connections of the member with this key, which its handshake proved.
    Member([u8; 32]),
    /// Connections of strangers from one network: an IPv4 address, or the 48 bits of an IPv6
    /// address that a site has.
    Network(IpAddr),
}

impl Group {
    /// Returns the group of strangers at `address`.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80)).into(),
            v4 => v4,
        })
    }
}

/// Slots for connections of one kind.
pub(crate) struct Slots {
    /// Maximum number of slots that are taken.
    capacity: usize,
    /// Maximum number of slots that a group takes.
    per_group: usize,
    /// In the order in which they were taken.
    taken: Mutex<Vec<Taken>>,
}

struct Taken {
    group: Group,
    state: Arc<SlotState>,
}

#[derive(Default)]
struct SlotState {
    /// Number of transfers under way.
    transfers: AtomicUsize,
    /// Set once a transfer was completed, until this is asked for.
    has_delivered: AtomicBool,
    /// Told when the slot is lost.
    lost: Notify,
}

impl Slots {
    /// Creates `capacity` slots, of which a group takes at most `per_group`.
    pub(crate) fn new(capacity: usize, per_group: usize) -> Arc<Self> {
        Arc::new(Self { capacity, per_group, taken: Mutex::default() })
    }

    /// Takes a slot for a connection of `group`. If there is none, another connection
    /// [loses](Slot::lost) its slot: one of the group that has most, first one that sends nothing,
    /// first the oldest.
    pub(crate) fn take(self: &Arc<Self>, group: Group) -> Slot {
        let state = Arc::<SlotState>::default();
        let mut taken = self.taken();
        let own = taken.iter().filter(|slot| slot.group == group).count();
        let victim = if own >= self.per_group {
            victim(&taken, |slot| slot.group == group)
        } else if taken.len() >= self.capacity {
            let mut counts = HashMap::from([(group, 1)]);
            taken.iter().for_each(|slot| *counts.entry(slot.group).or_insert(0) += 1);
            let most = taken.iter().filter_map(|slot| counts.get(&slot.group)).max().copied();
            victim(&taken, |slot| counts.get(&slot.group).copied() == most)
        } else {
            None
        };
        if let Some(victim) = victim {
            taken.remove(victim).state.lost.notify_one();
            pol_metrics::swarm().refused_connections_total.inc();
        }
        taken.push(Taken { group, state: state.clone() });
        Slot { slots: self.clone(), state }
    }

    /// Returns `true` if at least half of the slots are taken.
    pub(crate) fn is_busy(&self) -> bool {
        self.taken().len() >= self.capacity.div_ceil(2)
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the place of the slot that is given up among those that `may_go`.
fn victim(taken: &[Taken], may_go: impl Fn(&Taken) -> bool) -> Option<usize> {
    let candidates = taken.iter().enumerate().filter(|(_, slot)| may_go(slot));
    let victim = candidates.min_by_key(|(place, slot)| (Reverse(slot.state.is_idle()), *place));
    victim.map(|(place, _)| place)
}

impl SlotState {
    fn is_idle(&self) -> bool {
        self.transfers.load(Ordering::Relaxed) == 0
    }
}

/// Slot of one connection, which is free again once this is dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    state: Arc<SlotState>,
}

impl Slot {
    /// Ends once another connection has the slot.
    pub(crate) async fn lost(&self) {
        self.state.lost.notified().await;
    }

    /// Returns `true` if a transfer is under way, or was completed since the last call.
    pub(crate) fn was_used(&self) -> bool {
        self.state.has_delivered.swap(false, Ordering::Relaxed) || !self.state.is_idle()
    }

    /// Notes that a transfer is under way, until the result is completed or dropped.
    pub(crate) fn transfer(&self) -> Transfer {
        self.state.transfers.fetch_add(1, Ordering::Relaxed);
        Transfer(self.state.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().retain(|slot| !Arc::ptr_eq(&slot.state, &self.state));
    }
}

/// A transfer that is under way over a connection.
pub(crate) struct Transfer(Arc<SlotState>);

impl Transfer {
    /// Notes that the blob was delivered.
    pub(crate) fn complete(self) {
        self.0.has_delivered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn network(last: u8) -> Group {
        Group::of([203, 0, 113, last].into())
    }

    /// Returns the places of the slots that were lost since the last call.
    fn lost(slots: &[Slot]) -> Vec<usize> {
        let is_lost = |slot: &Slot| slot.lost().now_or_never().is_some();
        (0..slots.len()).filter(|place| slots.get(*place).is_some_and(is_lost)).collect()
    }

    #[test]
    fn whoever_takes_most_makes_room() {
        let slots = Slots::new(4, 4);
        let mut taken: Vec<_> = [1, 2, 1, 1].map(|last| slots.take(network(last))).into();
        assert!(lost(&taken).is_empty());
        // Another network comes in, and so does a second one, at the cost of the first.
        taken.push(slots.take(network(3)));
        assert_eq!(lost(&taken), [0]);
        taken.push(slots.take(network(4)));
        assert_eq!(lost(&taken), [2]);
        // Nobody displaces anybody but itself by coming often.
        for before in [4, 6] {
            taken.push(slots.take(network(3)));
            assert_eq!(lost(&taken), [before]);
        }
        // Among equals the oldest goes.
        taken.push(slots.take(network(5)));
        assert_eq!(lost(&taken), [1]);
    }

    #[test]
    fn those_that_send_nothing_go_first() {
        let slots = Slots::new(3, 3);
        let mut taken: Vec<_> = (0..3).map(|_| slots.take(network(1))).collect();
        let transfers = [0, 1].map(|place| taken[place].transfer());
        taken.push(slots.take(network(2)));
        assert_eq!(lost(&taken), [2]);
        assert!(taken[0].was_used() && !taken[2].was_used());
        let [first, second] = transfers;
        first.complete();
        drop(second);
        let used = taken.iter().map(Slot::was_used);
        assert_eq!(used.collect::<Vec<_>>(), [true, false, false, false]);
        assert!(!taken[0].was_used(), "it is said once");
    }

    #[test]
    fn a_group_has_a_limit_and_dropped_slots_are_free() {
        let slots = Slots::new(8, 2);
        let member = Group::Member([1; 32]);
        let mut taken: Vec<_> = (0..2).map(|_| slots.take(member)).collect();
        assert!(!slots.is_busy());
        taken.push(slots.take(Group::Member([2; 32])));
        assert!(lost(&taken).is_empty());
        taken.push(slots.take(member));
        assert_eq!(lost(&taken), [0]);
        taken.push(slots.take(network(1)));
        assert!(slots.is_busy() && lost(&taken).is_empty());
        taken.clear();
        assert!(slots.taken().is_empty());
    }

    #[test]
    fn strangers_of_a_network_are_one_group() {
        let of = |text: &str| Group::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1::7"), of("2001:db8:1:ffff::8"));
        assert_ne!(of("2001:db8:1::7"), of("2001:db8:2::7"));
        assert_eq!(of("::ffff:203.0.113.1"), network(1));
        assert_ne!(network(1), network(2));
    }
}
