//! agentry
