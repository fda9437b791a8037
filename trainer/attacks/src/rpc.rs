// SPDX-License-Identifier: Apache-2.0

//! The node's JSON-RPC over plain HTTP, for reads that the client has no method for and for bytes
//! that no client sends.

use anyhow::{Context, Result};
use codec::Decode;
use pol_chain::AccountId;
use pol_primitives::{Balance, Hash};
use serde_json::{Value, json};
use sp_crypto_hashing::{blake2_128, twox_128};
use std::{net::SocketAddrV4, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Size in bytes at which an answer is cut.
const MAX_ANSWER_BYTES: u64 = 4 << 20;
/// Longest wait for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Address of the node's RPC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rpc(pub(crate) SocketAddrV4);

impl Rpc {
    /// Returns the WebSocket address.
    pub(crate) fn url(self) -> String {
        format!("ws://{}", self.0)
    }

    /// Opens a connection and sends nothing.
    pub(crate) async fn connect(self) -> Result<TcpStream> {
        Ok(TcpStream::connect(self.0).await?)
    }

    /// Sends these bytes as the body of a request; returns the answer from the status line on.
    pub(crate) async fn post(self, body: &[u8]) -> Result<String> {
        let exchange = async {
            let mut stream = self.connect().await?;
            let head = format!(
                "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n",
                self.0,
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = Vec::new();
            stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        timeout(REQUEST_TIMEOUT, exchange).await.context("the node did not answer in time")?
    }

    /// Calls a method and returns its result; fails if the node returns an error.
    pub(crate) async fn call(self, method: &str, parameters: Value) -> Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters })
            .to_string();
        let answer = self.post(body.as_bytes()).await?;
        let (_, answer) = answer.split_once("\r\n\r\n").context("the node's answer has no body")?;
        let mut answer: Value =
            serde_json::from_str(answer).with_context(|| format!("answer to {method}"))?;
        let result = answer.get_mut("result").map(Value::take);
        result.with_context(|| format!("{method}: {}", answer["error"]))
    }

    /// Returns the value of a storage entry without a key at the best block.
    pub(crate) async fn stored<T: Decode>(self, pallet: &str, entry: &str) -> Result<T> {
        let key = [twox_128(pallet.as_bytes()), twox_128(entry.as_bytes())].concat();
        let answer =
            self.call("state_getStorage", json!([format!("0x{}", hex::encode(key))])).await?;
        let value = answer.as_str().with_context(|| format!("{pallet}.{entry} is not stored"))?;
        let bytes = hex::decode(value.trim_start_matches("0x"))?;
        T::decode(&mut &bytes[..]).with_context(|| format!("{pallet}.{entry}"))
    }

    /// Returns the balance on hold of each account at a block. It is all that a slash can reach,
    /// bonds that are being withdrawn included.
    pub(crate) async fn balances_on_hold(
        self,
        accounts: &[AccountId],
        at: Hash,
    ) -> Result<Vec<Balance>> {
        let keys: Vec<String> = accounts
            .iter()
            .map(|account| format!("0x{}", hex::encode(account_key(account))))
            .collect();
        let answer = self
            .call("state_queryStorageAt", json!([keys, format!("0x{}", hex::encode(at))]))
            .await?;
        let changes =
            answer[0]["changes"].as_array().context("state_queryStorageAt gave no changes")?;
        let mut held = vec![0; accounts.len()];
        for change in changes {
            let Some(place) = keys.iter().position(|key| Some(key.as_str()) == change[0].as_str())
            else {
                continue;
            };
            let Some(value) = change[1].as_str() else { continue };
            // Nonce and three reference counts, free balance, balance on hold.
            let bytes = hex::decode(value.trim_start_matches("0x"))?;
            let (_, _, reserved) = <([u32; 4], Balance, Balance)>::decode(&mut &bytes[..])?;
            held[place] = reserved;
        }
        Ok(held)
    }
}

/// Returns the storage key of an account in `System.Account`.
fn account_key(account: &AccountId) -> Vec<u8> {
    [twox_128(b"System").as_slice(), &twox_128(b"Account"), &blake2_128(account), account].concat()
}
