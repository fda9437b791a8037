// SPDX-License-Identifier: Apache-2.0

//! `GET /peers`: the node with its peers, and the members with their endpoints.

use crate::{
    Answer,
    network::{MemberItem, member_page},
    node::Node,
    page::{AsOf, Items},
    query::{KeyQuery, Parameters},
    state::ChainState,
    values::{Account, SwarmEndpoint},
};
use axum::{Json, extract::State};
use futures::try_join;
use pol_api::Problem;
use pol_chain::{ChainError, ListedPeer};
use pol_primitives::member::Role;
use serde::Serialize;
use std::time::{Duration, Instant};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Peers of the node, and members.
#[derive(Debug, Serialize, ToSchema)]
struct Peers {
    /// Node; null if none answers within half a second.
    node: Option<NodeState>,
    /// Members, in the order of their accounts.
    members: Vec<PeerItem>,
    /// Value of `after` for the next page of members.
    next: Option<String>,
    /// Block that the members are of.
    as_of: AsOf,
}

/// Node that the server asks.
#[derive(Debug, Serialize, ToSchema)]
struct NodeState {
    /// Hosts of the node and of those that may replace it.
    #[schema(example = json!(["127.0.0.1:9944"]))]
    hosts: Vec<String>,
    /// Name of its chain.
    #[schema(example = "POL Development")]
    chain: String,
    /// Version of the program.
    #[schema(example = "0.1.0")]
    version: String,
    /// Identity among its peers.
    peer_id: String,
    /// Number of connected peers.
    #[schema(example = 3)]
    peers: u64,
    /// True if it is far behind its peers.
    syncing: bool,
    /// Time of one question and its answer, in milliseconds.
    #[schema(example = 0.4)]
    latency_ms: f64,
    /// Connected peers; null if the node does not tell, as it does on its own machine only.
    listed: Option<Vec<PeerOfNode>>,
}

/// Peer of the node.
#[derive(Debug, Serialize, ToSchema)]
struct PeerOfNode {
    /// Identity.
    id: String,
    /// Roles.
    #[schema(example = "AUTHORITY")]
    roles: String,
    /// Height of its best block.
    #[schema(example = 812)]
    best: u64,
}

/// Member with its endpoint.
#[derive(Debug, Serialize, ToSchema)]
struct PeerItem {
    /// Account.
    account: Account,
    /// Role.
    #[schema(value_type = Option<String>, example = "trainer")]
    role: Option<Role>,
    /// Endpoint at which it serves blobs.
    endpoint: Option<SwarmEndpoint>,
    /// Round-trip time of the last connection that this process made to it within an hour, in
    /// milliseconds; null if there was none. Only processes of members connect to others.
    #[schema(example = 31.5)]
    latency_ms: Option<f64>,
}

impl PeerItem {
    fn new(member: MemberItem, state: &ChainState) -> Self {
        let MemberItem { account, role, endpoint, .. } = member;
        let latency = endpoint.as_ref().and_then(|endpoint| state.latency(&endpoint.id.0));
        Self { account, role, endpoint, latency_ms: latency.map(milliseconds) }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl From<ListedPeer> for PeerOfNode {
    fn from(ListedPeer { id, roles, best }: ListedPeer) -> Self {
        Self { id, roles, best }
    }
}

/// Returns the node with its peers, and the members with their endpoints.
#[utoipa::path(
    get,
    path = "/peers",
    tag = "Chain",
    params(KeyQuery),
    responses(
        (status = 200, body = Peers),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn peers(
    State(state): State<ChainState>,
    Parameters(page): Parameters<KeyQuery>,
) -> Answer<Peers> {
    let Items { items, next, as_of } = member_page(&state, &page).await?;
    let node = state.ask_briefly(read).await.ok();
    let members = items.into_iter().map(|member| PeerItem::new(member, &state)).collect();
    Ok(Json(Peers { node, members, next, as_of }))
}

/// Reads the state of the node.
async fn read(Node { chain, .. }: Node) -> Result<NodeState, ChainError> {
    let asked = Instant::now();
    let name = chain.chain_name().await?;
    let latency = asked.elapsed();
    let (status, listed) = try_join!(chain.node_status(), chain.listed_peers())?;
    Ok(NodeState {
        hosts: chain.hosts().into_iter().map(ToOwned::to_owned).collect(),
        chain: name,
        version: status.version,
        peer_id: status.peer_id,
        peers: status.peers,
        syncing: status.syncing,
        latency_ms: milliseconds(latency),
        listed: listed.map(|peers| peers.into_iter().map(Into::into).collect()),
    })
}

/// Returns the endpoint.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(peers)).with_state(state)
}
