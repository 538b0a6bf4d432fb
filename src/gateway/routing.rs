//! The routes in use, and the way of each. A call uses one of these from beginning to end.

use std::sync::Arc;

use super::Bounds;
use super::forward::Way;
use super::routes::{Route, ordered};

/// Routes, the most particular first.
#[derive(Debug)]
pub(super) struct Routing {
    routes: Vec<Route>,
    ways: Vec<Arc<Way>>,
}

impl Routing {
    /// With the connections of those before, as far as they lead to the same servers.
    pub(super) fn new(routes: Vec<Route>, bounds: Bounds, before: Option<&Self>) -> Self {
        let routes = ordered(routes);
        let kept = |route: &Route| {
            let before = before?;
            let number = before.routes.iter().position(|known| known.has_servers_of(route))?;
            before.ways.get(number).map(Arc::clone)
        };
        let ways =
            routes.iter().map(|route| kept(route).unwrap_or_else(|| Arc::new(Way::new(route, bounds)))).collect();
        Self { routes, ways }
    }

    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(super) fn taken(&self, number: usize) -> Option<(&Route, &Way)> {
        Some((self.routes.get(number)?, self.ways.get(number)?))
    }

    /// Closes the connections that nobody uses, but for those of others too.
    pub(super) fn close(&self, others: Option<&Self>) {
        let is_kept =
            |way: &Arc<Way>| others.is_some_and(|others| others.ways.iter().any(|other| Arc::ptr_eq(way, other)));
        self.ways.iter().filter(|way| !is_kept(way)).for_each(|way| way.close());
    }
}
