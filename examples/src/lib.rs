//! Examples of Brigade: see the `examples` folder.
