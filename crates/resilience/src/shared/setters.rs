//! Setters for the settings structs.

/// Defines one setter per field of a settings struct. Those of `optional` fields take a value or an `Option`.
macro_rules! setters {
    ($settings:ty { $($field:ident: $value:ty),* $(,)? } $(optional { $($option:ident: $inner:ty),* $(,)? })?) => {
        impl $settings {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(self, $field: $value) -> Self {
                    Self { $field, ..self }
                }
            )*
            $($(
                #[doc = concat!("Sets [`", stringify!($option), "`](Self#structfield.", stringify!($option), ").")]
                #[must_use]
                pub fn $option(self, $option: impl Into<Option<$inner>>) -> Self {
                    Self { $option: $option.into(), ..self }
                }
            )*)?
        }
    };
}
