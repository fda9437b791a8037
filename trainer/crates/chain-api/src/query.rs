// SPDX-License-Identifier: Apache-2.0

//! Parameters of requests, all of which are checked.

use axum::{
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::{Uri, request::Parts},
};
use pol_api::ApiError;
use pol_index::{MAX_PAGE, Order, Position, Range};
use serde::{Deserialize, de::DeserializeOwned};
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};

/// Number of items of a page if the request does not say it.
const DEFAULT_LIMIT: u32 = 100;

/// Parameters of a request. The frame of the endpoints refuses others.
pub(crate) struct Parameters<T>(pub(crate) T);

/// Selection of an endpoint, and the part of it that is asked for.
pub(crate) struct Paged<F> {
    /// Selection.
    pub(crate) filter: F,
    /// Part.
    pub(crate) page: PageQuery,
}

/// Part of a selection, in the order of the chain.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Number of items, 100 unless the endpoint says otherwise. It is 1 to 1,000, or to the
    /// endpoint's own maximum.
    #[param(minimum = 1, example = 20)]
    limit: Option<u32>,
    /// Value of `next` in the page before.
    #[param(example = "7-2")]
    after: Option<String>,
    /// Order: from the newest item on, or from the oldest.
    #[param(inline)]
    order: Option<PageOrder>,
}

/// Part of a selection, in the order of its keys.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeyQuery {
    /// Number of items, from 1 to 1,000, and 100 by default.
    #[param(minimum = 1, maximum = 1_000, example = 20)]
    limit: Option<u32>,
    /// Value of `next` in the page before.
    after: Option<String>,
}

/// Order of a page.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PageOrder {
    /// From the newest item on.
    #[default]
    Newest,
    /// From the oldest item on.
    Oldest,
}

impl PageQuery {
    /// Returns the range of the index.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range.
    pub(crate) fn range(&self) -> Result<Range, ApiError> {
        self.range_within(DEFAULT_LIMIT, MAX_PAGE)
    }

    /// Returns the range of the index with this number of items by default, and at most.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range.
    pub(crate) fn range_within(&self, default: u32, most: u32) -> Result<Range, ApiError> {
        let order = match self.order.unwrap_or_default() {
            PageOrder::Newest => Order::NewestFirst,
            PageOrder::Oldest => Order::OldestFirst,
        };
        let after = self.after.as_deref().map(parse_after::<Position>).transpose()?;
        Ok(Range { order, after, limit: bounded("limit", self.limit, default, most)? })
    }

    /// Returns the part of a selection that is ordered by key.
    ///
    /// # Errors
    ///
    /// Fails if the request names an order.
    pub(crate) fn keys(self) -> Result<KeyQuery, ApiError> {
        match self.order {
            Some(_) => {
                let detail = "order goes with source or owner; without them, the list is in the \
                              order of its keys";
                Err(ApiError::parameter("order", detail))
            }
            None => Ok(KeyQuery { limit: self.limit, after: self.after }),
        }
    }
}

impl KeyQuery {
    /// Returns the number of items.
    ///
    /// # Errors
    ///
    /// Fails if it is out of range.
    pub(crate) fn limit(&self) -> Result<u32, ApiError> {
        bounded("limit", self.limit, DEFAULT_LIMIT, MAX_PAGE)
    }

    /// Returns the key behind which the page begins.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a key.
    pub(crate) fn after<K: FromStr>(&self) -> Result<Option<K>, ApiError> {
        self.after.as_deref().map(parse_after).transpose()
    }

    /// Returns the text behind which the page begins.
    pub(crate) fn after_text(&self) -> Option<&str> {
        self.after.as_deref()
    }
}

/// Returns a number from 1 to `most`, or the default if there is none.
///
/// # Errors
///
/// Fails if the number is out of range.
pub(crate) fn bounded(
    name: &'static str,
    number: Option<u32>,
    default: u32,
    most: u32,
) -> Result<u32, ApiError> {
    let number = number.unwrap_or(default);
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    Err(ApiError::parameter(name, format!("{name} must be from 1 to {most}, not {number}")))
}

/// Parses the start of a page.
fn parse_after<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| invalid_after())
}

/// Returns the error of a text that no page named as its next.
pub(crate) fn invalid_after() -> ApiError {
    ApiError::parameter("after", "`after` takes the value of `next` in the page before")
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parse(&parts.uri).map(Self)
    }
}

impl<F: DeserializeOwned, S: Sync> FromRequestParts<S> for Paged<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self { filter: parse(&parts.uri)?, page: parse(&parts.uri)? })
    }
}

/// Parses the parameters of a type.
fn parse<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::try_from_uri(uri).map(|Query(parsed)| parsed).map_err(invalid)
}

fn invalid(rejection: QueryRejection) -> ApiError {
    // The part after the colon names the parameter and the fault.
    let text = rejection.body_text();
    let fault = text.split_once(": ").map_or(text.as_str(), |(_, fault)| fault);
    ApiError::Invalid { parameter: None, detail: format!("a parameter is refused: {fault}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Account;
    use axum::http::Request;

    #[derive(Debug, Deserialize, IntoParams)]
    struct Filter {
        round: Option<u32>,
        account: Option<Account>,
    }

    async fn parsed(query: &str) -> Result<Paged<Filter>, ApiError> {
        let request = Request::builder().uri(format!("/rewards{query}")).body(()).unwrap();
        Paged::from_request_parts(&mut request.into_parts().0, &()).await
    }

    async fn fault(query: &str) -> String {
        match parsed(query).await {
            Ok(paged) => paged.page.range().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn parameters_are_read() {
        let paged = parsed("?round=7&limit=5&after=9-2&order=oldest").await.unwrap();
        let range = paged.page.range().unwrap();
        assert_eq!(paged.filter.round, Some(7));
        assert!(paged.filter.account.is_none());
        assert_eq!((range.limit, range.order), (5, Order::OldestFirst));
        assert_eq!(range.after, Some(Position { block: 9, item: 2 }));
        let all = parsed("").await.unwrap().page.range().unwrap();
        assert_eq!(all, Range::default());
    }

    #[tokio::test]
    async fn faults_name_the_parameter() {
        for (query, part) in [
            ("?limit=0", "limit must be from 1 to 1000"),
            ("?limit=1001", "limit must be"),
            ("?limit=-1", "limit: invalid digit"),
            ("?limit=99999999999999999999", "limit: number too large"),
            ("?round=1.5", "round: invalid digit"),
            ("?round=4294967296", "round: number too large"),
            ("?after=7", "`next`"),
            ("?after=7-2-1", "`next`"),
            ("?order=random", "order: unknown variant"),
            ("?account=alice", "account: \"alice\" is not an account"),
            ("?account=%27%3B+DROP+TABLE+rewards%3B--", "is not an account"),
        ] {
            let fault = fault(query).await;
            assert!(fault.contains(part), "{query}: {fault}");
        }
    }
}
