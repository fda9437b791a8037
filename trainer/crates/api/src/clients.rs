// SPDX-License-Identifier: Apache-2.0

//! Connections by client, so that one client does not take the places of all others.

use crate::access::network;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Number of connections of each client that has some.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<String, usize>>>);

/// Connection that counts until it is dropped.
pub(crate) struct ClientPlace {
    clients: Clients,
    client: String,
}

impl Clients {
    /// Counts a connection of the client at `peer`, or returns `None` if it has `most` already.
    pub(crate) fn enter(&self, peer: IpAddr, most: usize) -> Option<ClientPlace> {
        let client = network(peer);
        let mut counts = self.counts();
        let count = counts.get(&client).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(client.clone(), count + 1);
        Some(ClientPlace { clients: self.clone(), client })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut counts = self.clients.counts();
        match counts.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_places_of_their_own() {
        let clients = Clients::default();
        let enter = |peer: &str| clients.enter(peer.parse().unwrap(), 2);
        let (first, second) = (enter("10.0.0.1"), enter("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some() && enter("10.0.0.1").is_none());
        // A network of IPv6 is one client.
        let others = [enter("10.0.0.2"), enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(others.iter().all(Option::is_some) && enter("2001:db8::3").is_none());
        drop(first);
        let third = enter("10.0.0.1");
        assert!(third.is_some() && enter("10.0.0.1").is_none());
        drop((second, third, others));
        assert!(clients.counts().is_empty());
    }
}
