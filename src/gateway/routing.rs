//! The routes in use, and the way of each. A call uses one of these from beginning to end.

use std::sync::Arc;
use std::time::Duration;

use super::forward::{Failed, Way};
use super::old_api::OldApi;
use super::room::{Room, Waiting};
use super::routes::{Route, ordered};
use super::{Bounds, GatewaySettings};

/// Routes, the most particular first, and the old API.
#[derive(Debug)]
pub(super) struct Routing {
    routes: Vec<Route>,
    ways: Vec<Arc<Way>>,
    old_api: Option<(OldApi, Arc<Way>)>,
}

impl Routing {
    /// With the connections of those before, as far as they lead to the same servers.
    pub(super) fn new(settings: &GatewaySettings, bounds: Bounds, before: Option<&Self>) -> Self {
        let routes = ordered(settings.routes.clone());
        let kept = |route: &Route| {
            let before = before?;
            let number = before.routes.iter().position(|known| known.has_servers_of(route))?;
            before.ways.get(number).map(Arc::clone)
        };
        let way = |route: &Route| Way::new(&route.upstreams, route.trust.as_ref(), route.http2, bounds);
        // Those to the same servers are one.
        let mut ways: Vec<Arc<Way>> = Vec::new();
        for route in &routes {
            let is_here = routes.iter().zip(&ways).find(|(known, _)| known.has_servers_of(route));
            let there = is_here.map(|(_, way)| Arc::clone(way));
            ways.push(there.or_else(|| kept(route)).unwrap_or_else(|| Arc::new(way(route))));
        }
        let old_api = settings.old_api.as_ref().map(|api| {
            let kept = before.and_then(|before| before.old_api.as_ref()).filter(|(known, _)| known == api);
            kept.cloned().unwrap_or_else(|| (api.clone(), Arc::new(api.way(bounds))))
        });
        Self { routes, ways, old_api }
    }

    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(super) fn taken(&self, number: usize) -> Option<(&Route, &Way)> {
        Some((self.routes.get(number)?, self.ways.get(number)?))
    }

    /// The way to the old API, where there is one.
    pub(super) fn old_api(&self) -> Option<&Way> {
        self.old_api.as_ref().map(|(_, way)| &**way)
    }

    /// A place among the calls that wait for these servers, as long as the calls of others find theirs.
    pub(super) fn wait<'w>(&self, way: &'w Way, room: &Room, now: Duration) -> Result<Waiting<'w>, Failed> {
        let has_others = self.ways().any(|other| !std::ptr::eq(&raw const **other, way));
        way.crowd.join(has_others.then_some(room), now)
    }

    fn ways(&self) -> impl Iterator<Item = &Arc<Way>> {
        self.ways.iter().chain(self.old_api.iter().map(|(_, way)| way))
    }

    /// Closes the connections that their servers have closed.
    pub(super) fn let_go_of_closed(&self) {
        self.ways().for_each(|way| way.let_go_of_closed());
    }

    /// Closes the connections that nobody uses, but for those of others too.
    pub(super) fn close(&self, others: Option<&Self>) {
        let is_kept = |way: &Arc<Way>| others.is_some_and(|others| others.ways().any(|other| Arc::ptr_eq(way, other)));
        self.ways().filter(|way| !is_kept(way)).for_each(|way| way.close());
    }
}
