//! The dashboard at `/`: one page, its style and its script, all from here. It shows what `/readyz`, `/metrics` and, with the
//! ops token, `/api/v1/table` say, and asks nothing of anybody else.

use axum::response::{IntoResponse, Response};
use http::header;

/// The page may load its own script and style and ask its own bridge, and nothing else; nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; \
                      frame-ancestors 'none'; base-uri 'none'";

pub(super) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("index.html"))
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("dashboard.css"))
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("dashboard.js"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}
