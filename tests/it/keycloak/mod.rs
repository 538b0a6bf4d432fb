//! The realm's moods: what they become, and that nothing is sent twice that may have been spent.

mod errors;
mod moods;
