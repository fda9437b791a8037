// SPDX-License-Identifier: Apache-2.0

//! The frame around all endpoints: versions, access, limits, errors, and the reference.

use crate::{
    access::Access,
    body::MAX_BODY_BYTES,
    clients::ClientName,
    error::ApiError,
    observe::observe,
    origins::{check_site, share},
    query::{KnownParameters, check_host},
    reference,
    tokens::{Scope, TOKEN_SCHEME},
};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, header},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use futures::StreamExt;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};
use utoipa::openapi::{
    Components, InfoBuilder, OpenApi, OpenApiBuilder,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

/// Policy of the reference: a page without scripts.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// Path that tells supervisors, which may name no host, that the server runs, and nothing else.
const HEALTH: &str = "/health";

/// Address of the client of a request, which the server adds.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Collection of endpoints.
///
/// # Examples
///
/// ```
/// use pol_api::{Access, Frame, Rate, Scope};
/// use std::num::NonZeroU32;
/// use utoipa_axum::{router::OpenApiRouter, routes};
///
/// /// Says that the server runs.
/// #[utoipa::path(get, path = "/hello", responses((status = 200, body = String)))]
/// async fn hello() -> &'static str {
///     "hello"
/// }
///
/// let rate = Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::MIN };
/// let routes = OpenApiRouter::new().routes(routes!(hello));
/// // GET /hello and GET /v1/hello, for tokens with the scope `read`.
/// let router = Frame::new(Access::new(None, rate)).with(Scope::Read, routes).build();
/// # let _ = router;
/// ```
pub struct Frame {
    access: Arc<Access>,
    origins: Arc<[String]>,
    routes: OpenApiRouter,
    pages: Router,
}

impl Frame {
    /// Creates a frame without endpoints.
    pub fn new(access: Access) -> Self {
        let info = InfoBuilder::new()
            .title("POL")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some("Models of a proof-of-learning network."));
        let mut components = Components::new();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme(TOKEN_SCHEME, bearer);
        let openapi = OpenApiBuilder::new()
            .info(info.build())
            .components(Some(components))
            .security(Some([SecurityRequirement::new(TOKEN_SCHEME, [""; 0])]))
            .build();
        let routes = OpenApiRouter::with_openapi(openapi);
        let pages = Router::new();
        Self { access: Arc::new(access), origins: Arc::default(), routes, pages }
    }

    /// Lets pages of these origins, such as `https://example.org`, use the server. Without this,
    /// browsers show its answers to no page but its own.
    #[must_use]
    pub fn with_origins(self, origins: Vec<String>) -> Self {
        Self { origins: origins.into(), ..self }
    }

    /// Adds endpoints that require `scope`, at their plain paths and below `/v1`.
    #[must_use]
    pub fn with(self, scope: Scope, routes: OpenApiRouter) -> Self {
        let plain = self.guarded(scope, routes.clone());
        let frame = self.with_versioned(scope, routes);
        Self { routes: frame.routes.merge(plain), ..frame }
    }

    /// Adds endpoints that require `scope`, below `/v1` alone.
    #[must_use]
    pub fn with_versioned(self, scope: Scope, routes: OpenApiRouter) -> Self {
        let routes = self.guarded(scope, routes);
        // A nest would replace the description of another method of the same path.
        let nested = OpenApiRouter::new().nest("/v1", routes);
        Self { routes: self.routes.merge(nested), ..self }
    }

    /// Adds pages, which require no token and are no part of the description. What they show comes
    /// from endpoints that do.
    #[must_use]
    pub fn with_pages(self, pages: Router) -> Self {
        Self { pages: self.pages.merge(pages), ..self }
    }

    fn guarded(&self, scope: Scope, mut routes: OpenApiRouter) -> OpenApiRouter {
        describe_scope(routes.get_openapi_mut(), scope);
        let access = Arc::clone(&self.access);
        routes.route_layer(from_fn(move |mut request: Request, next: Next| {
            let access = Arc::clone(&access);
            async move {
                let peer = peer(&request);
                let headers = request.headers();
                match access.check(scope, headers, peer) {
                    Ok(client) => {
                        tracing::Span::current().record("client", client.as_str());
                        let secret = access.secret(headers);
                        if secret.is_some() {
                            request.extensions_mut().insert(ClientName::of_token(&client));
                        }
                        let response = next.run(request).await;
                        match secret.filter(|_| is_stream(&response)) {
                            Some(secret) => end_with(response, access, scope, secret),
                            None => response,
                        }
                    }
                    Err(error) => error.into_response(),
                }
            }
        }))
    }

    /// Returns the service of all endpoints, with `/openapi.json`, `/reference`, and `/health`,
    /// which require no token.
    pub fn build(self) -> Router {
        let (router, mut openapi) = self.routes.split_for_parts();
        name_operations(&mut openapi);
        let page = reference::page(&openapi);
        let known = Arc::new(KnownParameters::of(&openapi));
        let (openapi, origins, access) = (Arc::new(openapi), self.origins, self.access);
        let named = Arc::clone(&origins);
        router
            .merge(self.pages)
            .route("/openapi.json", get(move || async move { Json(&*openapi).into_response() }))
            .route(
                "/reference",
                get(move || async move {
                    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page))
                }),
            )
            .route(HEALTH, get(|| async { "ok" }))
            .fallback(|| async { ApiError::NotFound })
            .method_not_allowed_fallback(|| async { ApiError::Method })
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(from_fn(move |request: Request, next: Next| {
                let (known, access) = (Arc::clone(&known), Arc::clone(&access));
                let named = Arc::clone(&named);
                async move {
                    let (headers, uri) = (request.headers(), request.uri());
                    let checked = check_host(&request)
                        .and_then(|()| match uri.path() {
                            HEALTH => Ok(()),
                            _ => access.check_name(headers, uri).and_then(|()| {
                                check_site(&named, &request, known.describe(&request))
                            }),
                        })
                        .and_then(|()| known.check(&request));
                    match checked {
                        Ok(()) => next.run(request).await,
                        Err(error) => error.into_response(),
                    }
                }
            }))
            .layer(from_fn(move |request: Request, next: Next| {
                let origins = Arc::clone(&origins);
                async move { share(&origins, request, next).await }
            }))
            .layer(from_fn(observe))
    }
}

/// Returns `true` for a stream of events, which may go on for ever.
fn is_stream(response: &Response) -> bool {
    let media = response.headers().get(header::CONTENT_TYPE);
    media.is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
}

/// Ends a stream soon after its token is revoked.
fn end_with(response: Response, access: Arc<Access>, scope: Scope, secret: String) -> Response {
    let revoked = Box::pin(async move { access.revoked(scope, &secret).await });
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(revoked)))
}

/// Describes the scope that tokens need for all operations.
fn describe_scope(openapi: &mut OpenApi, scope: Scope) {
    for item in openapi.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            let requirement = SecurityRequirement::new(TOKEN_SCHEME, [scope.name()]);
            operation.security = Some(vec![requirement]);
        }
    }
}

/// Names each operation after its path. The function behind it may stand for several.
fn name_operations(openapi: &mut OpenApi) {
    for (path, item) in &mut openapi.paths.paths {
        let words = path.replace(['/', '{', '}', '-', '.'], "_");
        for (method, operation) in [("get", &mut item.get), ("post", &mut item.post)] {
            if let Some(operation) = operation {
                operation.operation_id = Some(format!("{method}{words}"));
            }
        }
    }
}

/// Returns the address of the client; an unspecified one in tests without a server.
fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}
