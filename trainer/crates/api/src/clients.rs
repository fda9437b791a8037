// SPDX-License-Identifier: Apache-2.0

//! Connections and texts by client, so that one client does not take the places of all others.

use axum::{extract::FromRequestParts, http::request::Parts};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Name of the token by which a request was let in, if the server has tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientName(Option<Arc<str>>);

impl ClientName {
    /// Creates the name of the client with a token.
    pub(crate) fn of_token(name: &str) -> Self {
        Self(Some(name.into()))
    }

    /// Returns the name, or `None` where all clients are alike.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<S: Sync> FromRequestParts<S> for ClientName {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Number of places of each client that has some.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<String, usize>>>);

/// Place that counts until it is dropped.
pub(crate) struct ClientPlace {
    clients: Clients,
    client: String,
}

impl Clients {
    /// Counts a place of `client`, or returns `None` if it has `most` already.
    pub(crate) fn enter(&self, client: String, most: usize) -> Option<ClientPlace> {
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
    use crate::access::network;

    #[test]
    fn clients_have_places_of_their_own() {
        let clients = Clients::default();
        let enter = |peer: &str| clients.enter(network(peer.parse().unwrap()), 2);
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
