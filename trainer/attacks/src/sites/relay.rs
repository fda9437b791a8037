// SPDX-License-Identifier: Apache-2.0

//! Relays: sockets of this process that forward what one site sends to another.

use super::wires::{Direction, Quality, Wires};
use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
    try_join,
};

/// Greatest size of a datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Datagrams of one sender that are on their way to one receiver; more are lost.
const MAX_DATAGRAMS: usize = 4_096;
/// Size of a piece of a connection's bytes.
const PIECE: usize = 16 << 10;
/// Pieces of a connection that are on their way; its sender waits for room.
const MAX_PIECES: usize = 64;
/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes on their way, with the time of their arrival.
type Parcel = (Instant, Vec<u8>);

/// Forwards all datagrams that arrive at `socket` to `target` in the site `to`, and the answers.
/// `site_of` tells senders' sites; those of no site are taken for neighbours of the target.
pub(super) async fn relay_datagrams(
    wires: Arc<Wires>,
    socket: UdpSocket,
    (to, target): (u8, SocketAddr),
    site_of: fn(SocketAddr) -> Option<u8>,
) {
    let socket = Arc::new(socket);
    let mut tasks = JoinSet::new();
    let mut lanes = HashMap::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Ok((length, sender)) = socket.recv_from(&mut buffer).await else { continue };
        if let Entry::Vacant(place) = lanes.entry(sender) {
            let any: SocketAddr = match target {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let Ok(near) = UdpSocket::bind(any).await.map(Arc::new) else { continue };
            let from = site_of(sender).unwrap_or(to);
            let forth = Lane::new(&wires, (from, to), &near, target, &mut tasks);
            let back = Lane::new(&wires, (to, from), &socket, sender, &mut tasks);
            tasks.spawn(async move { back.carry_all(&near).await });
            place.insert(forth);
        }
        if let Some(lane) = lanes.get(&sender) {
            lane.carry(&buffer[..length]);
        }
    }
}

/// One direction of the datagrams between two sockets.
struct Lane {
    wires: Arc<Wires>,
    way: Direction,
    /// Datagrams that arrive in their order, and those that others overtake.
    queues: [mpsc::Sender<Parcel>; 2],
}

impl Lane {
    /// Creates a lane that ends in `target`, which sees `socket` as the sender.
    fn new(
        wires: &Arc<Wires>,
        way: Direction,
        socket: &Arc<UdpSocket>,
        target: SocketAddr,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let queues = [(); 2].map(|()| {
            let (queue, mut parcels) = mpsc::channel::<Parcel>(MAX_DATAGRAMS);
            let socket = socket.clone();
            tasks.spawn(async move {
                while let Some((at, datagram)) = parcels.recv().await {
                    sleep_until(at).await;
                    // A datagram that cannot be sent is lost.
                    let _ = socket.send_to(&datagram, target).await;
                }
            });
            queue
        });
        Self { wires: wires.clone(), way, queues }
    }

    fn carry(&self, datagram: &[u8]) {
        if let Some(arrival) = self.wires.datagram(self.way, datagram.len()) {
            let queue = &self.queues[usize::from(arrival.is_overtaken)];
            // A full queue loses datagrams.
            let _ = queue.try_send((arrival.at.into(), datagram.to_vec()));
        }
    }

    async fn carry_all(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            if let Ok((length, _)) = socket.recv_from(&mut buffer).await {
                self.carry(&buffer[..length]);
            }
        }
    }
}

/// Forwards all connections that arrive at `listener` to `target`.
pub(super) async fn relay_connections(
    wires: Arc<Wires>,
    listener: TcpListener,
    way: Direction,
    target: SocketAddr,
) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((near, _)) => {
                connections.spawn(relay_connection(wires.clone(), near, way, target));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards one connection until either end closes it. While the link is down its bytes wait, as
/// they do when a cable is pulled.
async fn relay_connection(
    wires: Arc<Wires>,
    near: TcpStream,
    (from, to): Direction,
    target: SocketAddr,
) -> io::Result<()> {
    wires.until_up((from, to)).await;
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let forth = carry_bytes(&wires, (from, to), near_in, far_out);
    let back = carry_bytes(&wires, (to, from), far_in, near_out);
    try_join!(forth, back).map(drop)
}

/// Carries one direction of a connection until its end.
async fn carry_bytes(
    wires: &Wires,
    way: Direction,
    mut input: OwnedReadHalf,
    mut output: OwnedWriteHalf,
) -> io::Result<()> {
    let (queue, mut parcels) = mpsc::channel::<Parcel>(MAX_PIECES);
    let read = async move {
        let mut buffer = vec![0; PIECE];
        loop {
            let length = input.read(&mut buffer).await?;
            let parcel = (wires.stream(way, length).into(), buffer[..length].to_vec());
            if length == 0 || queue.send(parcel).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = parcels.recv().await {
            sleep_until(at).await;
            wires.until_up(way).await;
            output.write_all(&bytes).await?;
        }
        output.shutdown().await
    };
    try_join!(read, write).map(drop)
}

/// Forwards datagrams between those who send to `socket` and `target`, so many bytes a second in
/// each direction.
pub(crate) async fn relay_slowly(socket: UdpSocket, target: SocketAddr, bandwidth: u32) {
    let wires = Wires::new(2);
    wires.set_quality(Quality { bandwidth: Some(bandwidth), ..Quality::default() });
    relay_datagrams(wires.into(), socket, (1, target), |_| Some(0)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(10);
    const A_WHILE: Duration = Duration::from_millis(300);

    async fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").await.unwrap()
    }

    #[tokio::test]
    async fn datagrams_go_forth_and_back_unless_the_link_is_down() {
        let wires = Arc::new(Wires::new(2));
        let (relay, target, sender) = (socket().await, socket().await, socket().await);
        let relay_address = relay.local_addr().unwrap();
        let end = (1, target.local_addr().unwrap());
        let task = tokio::spawn(relay_datagrams(wires.clone(), relay, end, |_| Some(0)));

        let mut buffer = [0; 8];
        sender.send_to(b"ping", relay_address).await.unwrap();
        let arrived = timeout(SOON, target.recv_from(&mut buffer)).await.unwrap();
        let (length, seen) = arrived.unwrap();
        assert_eq!(&buffer[..length], b"ping");
        target.send_to(b"pong", seen).await.unwrap();
        let arrived = timeout(SOON, sender.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(arrived.unwrap(), (4, relay_address));
        assert_eq!(&buffer[..4], b"pong");

        wires.part(&[1]);
        sender.send_to(b"lost", relay_address).await.unwrap();
        target.send_to(b"lost", seen).await.unwrap();
        assert!(timeout(A_WHILE, target.recv_from(&mut buffer)).await.is_err());
        assert!(timeout(A_WHILE, sender.recv_from(&mut buffer)).await.is_err());
        task.abort();
    }

    #[tokio::test]
    async fn late_datagrams_are_overtaken_and_none_is_lost() {
        let wires = Arc::new(Wires::new(2));
        wires.set_quality(Quality { reorder: 0.3, ..Quality::default() });
        let (relay, target, sender) = (socket().await, socket().await, socket().await);
        let relay_address = relay.local_addr().unwrap();
        let end = (1, target.local_addr().unwrap());
        let task = tokio::spawn(relay_datagrams(wires, relay, end, |_| Some(0)));
        for number in 0..50u8 {
            sender.send_to(&[number], relay_address).await.unwrap();
        }
        let mut order = Vec::new();
        let mut buffer = [0; 8];
        while order.len() < 50 {
            timeout(SOON, target.recv_from(&mut buffer)).await.unwrap().unwrap();
            order.push(buffer[0]);
        }
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        task.abort();
    }

    #[tokio::test]
    async fn bytes_of_a_connection_wait_while_the_link_is_down() {
        let wires = Arc::new(Wires::new(2));
        let (listener, target) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let relay_address = listener.local_addr().unwrap();
        let end = target.local_addr().unwrap();
        let task = tokio::spawn(relay_connections(wires.clone(), listener, (0, 1), end));
        let mut near = TcpStream::connect(relay_address).await.unwrap();
        let (mut far, _) = timeout(SOON, target.accept()).await.unwrap().unwrap();
        let sent: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
        let copy = sent.clone();
        wires.part(&[0]);
        let sending = tokio::spawn(async move {
            near.write_all(&copy).await.unwrap();
            near.shutdown().await.unwrap();
            let mut answer = String::new();
            near.read_to_string(&mut answer).await.unwrap();
            answer
        });
        let mut received = Vec::new();
        assert!(timeout(A_WHILE, far.read_u8()).await.is_err());
        wires.part(&[]);
        timeout(SOON, far.read_to_end(&mut received)).await.unwrap().unwrap();
        assert_eq!(received, sent);
        far.write_all(b"done").await.unwrap();
        drop(far);
        assert_eq!(timeout(SOON, sending).await.unwrap().unwrap(), "done");
        task.abort();
    }
}
