//! What can go wrong between this process and the chain.

use crate::{AccountId, format_account};
use pol_primitives::{Hash, round::BlockNumber};
use subxt::{
    error::DispatchError,
    tx::{TransactionInvalid, ValidationResult},
};

/// Why a read or a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Nobody listens at the address.
    #[error(
        "no node answers at {url} ({reason}): start one, or give the address of its WebSocket RPC, like ws://127.0.0.1:9944"
    )]
    Unreachable {
        /// The address tried.
        url: String,
        /// What happened last.
        reason: String,
    },
    /// The node runs another chain.
    #[error("this is not a POL node: the runtime at {url} has no PolApi")]
    NotPol {
        /// The node's address.
        url: String,
    },
    /// The node's runtime lacks a call.
    #[error(
        "the node's runtime has no call {pallet}.{call}: it is older or newer than this program, so update the older one"
    )]
    OldNode {
        /// The call's pallet.
        pallet: &'static str,
        /// The call's name.
        call: &'static str,
    },
    /// The node's runtime has the call with other arguments.
    #[error(
        "the node's runtime has other arguments for {pallet}.{call} ({reason}): it is older or newer than this program, so update the older one"
    )]
    OtherArguments {
        /// The call's pallet.
        pallet: &'static str,
        /// The call's name.
        call: &'static str,
        /// Where they differ.
        reason: String,
    },
    /// The node's answer has another shape than this program knows.
    #[error(
        "the node's answer to {method} is not understood ({reason}): it is older or newer than this program, so update the older one"
    )]
    Answer {
        /// What was asked.
        method: String,
        /// Where the answer differs.
        reason: codec::Error,
    },
    /// The call was in a block and failed: it had no effect but its fee.
    #[error("refused with {pallet}.{error}: {documentation}")]
    Refused {
        /// The pallet whose error it is; `Runtime` for errors of none.
        pallet: String,
        /// The error's name.
        error: String,
        /// What its pallet says about it.
        documentation: String,
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
        /// What the runtime objects to.
        reason: String,
    },
    /// The transaction's lifetime ended before a block included it. It had no effect and never
    /// will.
    #[error("no block up to {until} included the transaction 0x{}: the chain is busy or this node is cut off from it; try again", hex::encode(.extrinsic))]
    Expired {
        /// The transaction.
        extrinsic: Hash,
        /// The last block that could.
        until: BlockNumber,
    },
    /// Another transaction of the same account took this one's place. It had no effect and never
    /// will.
    #[error("{} sent another transaction at the same time, and the chain took that one: use an account in one process only", format_account(.account))]
    Displaced {
        /// The account.
        account: AccountId,
    },
    /// The node could not answer.
    #[error("the node could not answer: {0}")]
    Node(#[source] Box<subxt::Error>),
}

impl ChainError {
    /// A failure of the node or of the library that talks to it.
    pub(crate) fn node(error: impl Into<subxt::Error>) -> Self {
        Self::Node(Box::new(error.into()))
    }

    /// A failed dispatch, by the name and documentation that the pallet gives its error.
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

    /// Why the runtime would not take a transaction of `account`; none when it would, now or after
    /// its turn.
    pub(crate) fn invalid(account: AccountId, validation: ValidationResult) -> Option<Self> {
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
            ValidationResult::Invalid(TransactionInvalid::BadProof) => {
                "its signature does not fit this chain and runtime version".to_owned()
            }
            ValidationResult::Invalid(TransactionInvalid::ExhaustsResources) => {
                "it is too large for a block".to_owned()
            }
            ValidationResult::Invalid(other) => format!("{other:?}"),
            ValidationResult::Unknown(other) => format!("{other:?}"),
        };
        Some(Self::Invalid { account, reason })
    }
}
