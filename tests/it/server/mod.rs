//! Listeners, reload and drain, from the outside.

mod ahead;
mod broken;
mod dashboard;
mod drain;
mod operators;
mod reload;
mod tls;
mod unheard;

use passbridge::server::StartError;

use crate::support::{BEGIN, Plan};

#[test]
fn where_the_clock_says_a_time_before_1970_nothing_is_begun_and_that_is_told() {
    let mut world = Plan::new().files();
    world.clock.set_back(BEGIN.secs());
    let refused = world.try_begin().unwrap_err();
    let told = "the clock of this machine says a time before 1970: set it first";
    assert!(matches!(&refused, StartError::Failed(why) if why == told), "{refused:?}");
    assert!(!world.store().exists());
}
