"""Why a model cannot be routed, each with a stable code."""

from app.errors import UserError


class RoutingError(UserError):
    """Tokens and layers of this model cannot be pruned per request."""

    code = "routing_not_applicable"


class TextOnlyModelError(RoutingError):
    """The model sees no images, so there are no image tokens to drop."""

    code = "routing_text_only"


class NoDecoderError(RoutingError):
    """The model embeds images and texts side by side and decodes nothing."""

    code = "routing_no_decoder"


class RoutingFamilyError(RoutingError):
    """The model's family has no runtime here."""

    code = "routing_family_not_supported"


class TokenBudgetError(RoutingError):
    """The image reaches this model's decoder as a few queries, none of which can go."""

    code = "routing_tokens_not_prunable"


class LayerBudgetError(RoutingError):
    """Fewer layers may be skipped than the budget skips."""

    code = "routing_layers_not_skippable"
