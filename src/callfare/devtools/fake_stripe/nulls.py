"""Which fields an object brings as null when nothing else is known, by kind.

Taken from the samples that Stripe publishes with its API description (stripe/openapi, fixtures3.json, MIT), without the
fields that the pinned SDK does not have. A field that stands neither here nor where the object is made is absent, as it
is at Stripe: asking the SDK's object for it is an error there too.
"""

from __future__ import annotations

from typing import Final

NULLS: Final[dict[str, str]] = {
    "customer": "address currency default_source description discount email name phone shipping test_clock",
    "product": "default_price description package_dimensions shippable statement_descriptor tax_code unit_label url",
    "price": "custom_unit_amount lookup_key nickname recurring tiers_mode transform_quantity",
    "checkout.session": (
        "after_expiration allow_promotion_codes amount_subtotal amount_total billing_address_collection cancel_url"
        " client_reference_id client_secret collected_information consent consent_collection currency"
        " currency_conversion customer customer_account customer_creation customer_details customer_email discounts"
        " integration_identifier invoice invoice_creation locale origin_context payment_intent payment_link"
        " payment_method_collection payment_method_configuration_details permissions recovered_from"
        " saved_payment_method_options setup_intent shipping_address_collection shipping_cost status submit_type"
        " subscription total_details ui_mode url wallet_options"
    ),
    "payment_intent": (
        "application application_fee_amount automatic_payment_methods canceled_at cancellation_reason customer"
        " customer_account description excluded_payment_method_types last_payment_error latest_charge next_action"
        " on_behalf_of payment_method payment_method_configuration_details processing receipt_email review"
        " setup_future_usage shipping source statement_descriptor statement_descriptor_suffix transfer_data"
        " transfer_group"
    ),
    "setup_intent": (
        "application automatic_payment_methods cancellation_reason customer description"
        " excluded_payment_method_types flow_directions last_setup_error latest_attempt mandate next_action"
        " on_behalf_of payment_method payment_method_configuration_details single_use_mandate"
    ),
    "charge": (
        "application application_fee application_fee_amount balance_transaction calculated_statement_descriptor"
        " customer description failure_balance_transaction failure_code failure_message on_behalf_of"
        " payment_intent receipt_email receipt_number review shipping source source_transfer statement_descriptor"
        " statement_descriptor_suffix transfer_data transfer_group"
    ),
    "payment_method": "customer customer_account",
    "webhook_endpoint": "api_version application description",
    "billing_portal.session": "customer_account flow locale on_behalf_of return_url",
    "billing_portal.configuration": "application default_return_url metadata name",
    "balance_transaction": "description exchange_rate source",
    "refund": (
        "balance_transaction charge customer customer_account payment_intent payment_method reason receipt_number"
        " source_transfer_reversal transfer_reversal"
    ),
    "dispute": "payment_intent",
    "item": "description metadata price quantity",
    "subscription": (
        "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at"
        " customer_account days_until_due default_payment_method default_source description ended_at latest_invoice"
        " next_pending_invoice_item_invoice on_behalf_of pause_collection pending_invoice_item_interval"
        " pending_setup_intent pending_update schedule test_clock transfer_data trial_end trial_start"
    ),
    "subscription_item": "billing_thresholds",
    "invoice": (
        "account_name account_tax_ids application automatically_finalizes_at confirmation_secret custom_fields"
        " customer_account customer_address customer_email customer_name customer_phone customer_shipping"
        " default_payment_method default_source description due_date effective_at ending_balance footer from_invoice"
        " hosted_invoice_url invoice_pdf last_finalization_error latest_revision next_payment_attempt number"
        " on_behalf_of parent receipt_number rendering shipping_cost shipping_details statement_descriptor test_clock"
        " total_pretax_credit_amounts total_taxes webhooks_delivered_at"
    ),
    "line_item": "description parent pretax_credit_amounts pricing quantity quantity_decimal subscription taxes",
    "invoiceitem": "customer_account description invoice parent pricing proration_details test_clock",
    "invoice_payment": "amount_paid",
    "coupon": (
        "amount_off currency duration_in_months max_redemptions name percent_off redeem_by"
    ),
    "credit_note": (
        "customer_account customer_balance_transaction effective_at memo out_of_band_amount reason shipping_cost"
        " total_excluding_tax total_taxes voided_at"
    ),
}  # fmt: skip
