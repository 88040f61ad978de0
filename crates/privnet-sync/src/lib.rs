//! The protocol between server and agents, and its conversion to model types.
