//! The server's rooms.
