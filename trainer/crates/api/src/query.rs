// SPDX-License-Identifier: Apache-2.0

//! Heads of requests: one host, and the parameters that the description has.

use crate::error::ApiError;
use axum::{
    extract::{MatchedPath, Query, Request},
    http::{Method, Version, header},
};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::openapi::{OpenApi, RefOr, path::ParameterIn};

/// Most letters of a parameter that are repeated to its sender.
const MAX_SHOWN: usize = 40;

/// Names of the parameters in URLs, by path and method.
pub(crate) struct KnownParameters(BTreeMap<(String, Method), Vec<String>>);

impl KnownParameters {
    /// Collects the names of an interface.
    pub(crate) fn of(openapi: &OpenApi) -> Self {
        let mut known = BTreeMap::new();
        for (path, item) in &openapi.paths.paths {
            for (method, operation) in [(Method::GET, &item.get), (Method::POST, &item.post)] {
                let Some(operation) = operation else { continue };
                let parameters = operation.parameters.iter().flatten();
                let names = parameters
                    .filter_map(|parameter| match parameter {
                        RefOr::T(parameter) => Some(parameter),
                        // The endpoints describe each parameter in its place.
                        RefOr::Ref(_) => None,
                    })
                    .filter(|parameter| parameter.parameter_in == ParameterIn::Query)
                    .map(|parameter| parameter.name.clone());
                known.insert((path.clone(), method), names.collect());
            }
        }
        Self(known)
    }

    /// Refuses parameters that an endpoint does not know, so that a mistyped filter does not select
    /// all, and parameters that are repeated. What is not described takes any.
    pub(crate) fn check(&self, request: &Request) -> Result<(), ApiError> {
        self.of_request(request).map_or(Ok(()), |known| check_names(request, known))
    }

    /// Returns `true` if the description has the endpoint that a request asks for.
    pub(crate) fn describe(&self, request: &Request) -> bool {
        self.of_request(request).is_some()
    }

    fn of_request(&self, request: &Request) -> Option<&[String]> {
        let path = request.extensions().get::<MatchedPath>()?;
        let method = match request.method() {
            &Method::HEAD => Method::GET,
            method => method.clone(),
        };
        self.0.get(&(path.as_str().to_owned(), method)).map(Vec::as_slice)
    }
}

fn check_names(request: &Request, known: &[String]) -> Result<(), ApiError> {
    let invalid = |detail| ApiError::Invalid { parameter: None, detail };
    let Query(pairs): Query<Vec<(String, String)>> =
        Query::try_from_uri(request.uri()).map_err(|rejection| invalid(rejection.body_text()))?;
    let mut seen = BTreeSet::new();
    for (name, _) in pairs {
        let shown: String = name.chars().take(MAX_SHOWN).collect();
        if !known.contains(&name) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let detail = format!("the parameter '{shown}' is not known here; known: {known}");
            return Err(invalid(detail));
        }
        if !seen.insert(name) {
            return Err(invalid(format!("the parameter '{shown}' is given twice; give it once")));
        }
    }
    Ok(())
}

/// Refuses a request of HTTP/1.1 without exactly one host, as RFC 9112 demands: a proxy may have
/// looked at another one than this server does.
pub(crate) fn check_host(request: &Request) -> Result<(), ApiError> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if request.version() == Version::HTTP_11 && hosts != 1 {
        return Err(ApiError::Malformed(format!("it has {hosts} headers Host, and not one")));
    }
    Ok(())
}
