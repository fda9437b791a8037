// SPDX-License-Identifier: Apache-2.0

//! Errors of reads and calls.

use crate::{AccountId, format_account};
use pol_primitives::{Hash, round::BlockNumber};
use subxt::{
    Metadata,
    error::DispatchError,
    tx::{TransactionInvalid, ValidationResult},
};

/// Errors of reads and calls.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No node answers at the address.
    #[error(
        "no node answers at {url} ({reason}): start one, or give the address of its WebSocket \
         RPC, like ws://127.0.0.1:9944"
    )]
    Unreachable {
        /// Address that was tried.
        url: String,
        /// Last failure.
        reason: String,
    },
    /// The node runs another chain.
    #[error("this is not a POL node: the runtime at {url} has no PolApi")]
    NotPol {
        /// Address of the node.
        url: String,
    },
    /// Nodes of different chains were named.
    #[error(
        "the node at {url} runs another chain than that at {chain_of}: name nodes of one chain"
    )]
    OtherChain {
        /// Address of the node.
        url: String,
        /// Address of the node whose chain counts.
        chain_of: String,
    },
    /// The runtime of the node has no such call.
    #[error(
        "the node's runtime has no call {pallet}.{call}: it is older or newer than this program, \
         so update the older one"
    )]
    MissingCall {
        /// Pallet of the call.
        pallet: &'static str,
        /// Name of the call.
        call: &'static str,
    },
    /// The runtime of the node has the call with other arguments.
    #[error(
        "the node's runtime has other arguments for {pallet}.{call} ({reason}): it is older or \
         newer than this program, so update the older one"
    )]
    ArgumentMismatch {
        /// Pallet of the call.
        pallet: &'static str,
        /// Name of the call.
        call: &'static str,
        /// Difference between the arguments.
        reason: String,
    },
    /// The answer of the node has another shape than this program knows.
    #[error(
        "cannot decode the node's answer to {method} ({reason}): it is older or newer than this \
         program, so update the older one"
    )]
    UnexpectedAnswer {
        /// Method that was called.
        method: String,
        /// Decoding error.
        reason: codec::Error,
    },
    /// The call failed in a block, where it had no effect except for its fee, or was refused before
    /// inclusion, without a fee.
    #[error("refused with {pallet}.{error}: {documentation}")]
    Refused {
        /// Pallet of the error; `Runtime` for errors of no pallet.
        pallet: String,
        /// Name of the error.
        error: String,
        /// Documentation of the error, by its pallet.
        documentation: String,
    },
    /// The account takes no part in governance. Nothing was submitted.
    #[error(
        "{} is no member of the council, and only its members decide on this chain: sign as one of \
         them; `pol-trainer council show` lists them",
        format_account(.account)
    )]
    NotGovernor {
        /// The account.
        account: AccountId,
    },
    /// The chain has a sudo key, and it is another account's. Nothing was submitted.
    #[error(
        "{} does not decide on this chain, which has a sudo key: sign as {}",
        format_account(.account),
        format_account(.key)
    )]
    NotSudo {
        /// The account.
        account: AccountId,
        /// Account of the sudo key.
        key: AccountId,
    },
    /// The key may not act for the account. Nothing was submitted.
    #[error(
        "{} is no proxy of {} that takes effect at once: with the key of that account, run \
         `pol-trainer keys authorise {}`",
        format_account(.key),
        format_account(.account),
        format_account(.key)
    )]
    NotProxy {
        /// Account of the key.
        key: AccountId,
        /// Account that it was to act for.
        account: AccountId,
    },
    /// The account cannot pay the fee. Nothing was submitted.
    #[error("{} cannot pay transaction fees: send it some POL", format_account(.account))]
    Unfunded {
        /// The account.
        account: AccountId,
    },
    /// No block can include the transaction as things stand.
    #[error("the transaction of {} is invalid: {reason}", format_account(.account))]
    Invalid {
        /// The account that signed it.
        account: AccountId,
        /// Objection of the runtime.
        reason: String,
    },
    /// The transaction's era ended before a block included it. It had no effect and never will.
    #[error(
        "no block up to {until} included the transaction 0x{}: the chain is busy, or this node is \
         cut off from it; try again",
        hex::encode(.extrinsic)
    )]
    Expired {
        /// Hash of the transaction.
        extrinsic: Hash,
        /// Last block of the era.
        until: BlockNumber,
    },
    /// Another transaction of the same account took this one's place. It had no effect and never
    /// will.
    #[error(
        "{} sent another transaction at the same time, and the chain took that one: try again, \
         and let no two members use one account",
        format_account(.account)
    )]
    Displaced {
        /// The account.
        account: AccountId,
    },
    /// The node could not answer.
    #[error("the node could not answer: {0}")]
    Node(#[source] Box<subxt::Error>),
}

impl ChainError {
    /// Returns `true` if the node had the state of the block that was read, and has it no more.
    pub fn is_pruned(&self) -> bool {
        // The node states it in words only (`sc_client_db`), which a source of the error has.
        matches!(self, Self::Node(error) if format!("{error:?}").contains("already discarded"))
    }

    /// Wraps an error of the node or of the client library.
    pub(crate) fn node(error: impl Into<subxt::Error>) -> Self {
        Self::Node(Box::new(error.into()))
    }

    /// Converts a failed dispatch, with name and documentation from the metadata.
    pub(crate) fn refused(error: &DispatchError) -> Self {
        let documentation = error.to_string();
        let (pallet, error) = match error {
            DispatchError::Module(module) => match module.details() {
                Ok(details) => {
                    let documentation = details.variant.docs.join(" ").trim().to_owned();
                    let (pallet, error) =
                        (details.pallet.name().to_owned(), details.variant.name.clone());
                    return Self::Refused { pallet, error, documentation };
                }
                Err(_) => ("Runtime", format!("{:?}", module.bytes())),
            },
            DispatchError::Token(error) => ("Token", format!("{error:?}")),
            DispatchError::Arithmetic(error) => ("Arithmetic", format!("{error:?}")),
            DispatchError::Transactional(error) => ("Transactional", format!("{error:?}")),
            other => ("Runtime", format!("{other:?}")),
        };
        Self::Refused { pallet: pallet.to_owned(), error, documentation }
    }

    /// Returns the reason why the runtime would not take a transaction of `account`, or `None` if
    /// it would, now or after earlier transactions.
    pub(crate) fn invalid(
        account: AccountId,
        validation: ValidationResult,
        metadata: &Metadata,
    ) -> Option<Self> {
        let reason = match validation {
            ValidationResult::Valid(_) | ValidationResult::Invalid(TransactionInvalid::Future) => {
                return None;
            }
            ValidationResult::Invalid(TransactionInvalid::Payment) => {
                return Some(Self::Unfunded { account });
            }
            ValidationResult::Invalid(TransactionInvalid::Stale) => {
                return Some(Self::Displaced { account });
            }
            ValidationResult::Invalid(TransactionInvalid::Custom(code)) => {
                return Some(Self::inadmissible(account, code, metadata));
            }
            ValidationResult::Invalid(TransactionInvalid::BadProof) => {
                "its signature does not match this chain and runtime version".to_owned()
            }
            ValidationResult::Invalid(TransactionInvalid::ExhaustsResources) => {
                "it is too large for a block".to_owned()
            }
            ValidationResult::Invalid(other) => format!("{other:?}"),
            ValidationResult::Unknown(other) => format!("{other:?}"),
        };
        Some(Self::Invalid { account, reason })
    }

    /// Converts a refusal before inclusion. Its code is the index of an error of the learning
    /// pallet.
    pub(crate) fn inadmissible(account: AccountId, code: u8, metadata: &Metadata) -> Self {
        let pallet = "ProofOfLearning";
        let error =
            metadata.pallet_by_name(pallet).and_then(|pallet| pallet.error_variant_by_index(code));
        match error {
            Some(error) => Self::Refused {
                pallet: pallet.to_owned(),
                error: error.name.clone(),
                documentation: error.docs.join(" ").trim().to_owned(),
            },
            None => Self::Invalid { account, reason: format!("it was refused with code {code}") },
        }
    }
}
