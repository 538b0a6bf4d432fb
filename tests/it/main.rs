

mod store;
