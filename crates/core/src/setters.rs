//! Macros: setters of types whose fields are public and that may grow, and names of enums.

/// Implements a setter for each listed field.
macro_rules! setters {
    ($type:ident { $($field:ident: $value:ty),+ $(,)? }) => {
        impl $type {
            $(
                #[doc = concat!("Sets [`", stringify!($type), "::", stringify!($field), "`](#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(self, $field: $value) -> Self {
                    Self { $field, ..self }
                }
            )+
        }
    };
}

/// Implements `name` for an enum.
macro_rules! names {
    ($type:ident: $($variant:ident $(($($field:tt)+))? => $name:literal),+ $(,)?) => {
        impl $type {
            /// A stable name for logs, metric labels and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant $(($($field)+))? => $name),+ }
            }
        }
    };
}
