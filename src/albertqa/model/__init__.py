"""Build or load ALBERT; padding-free attention; span loss; the starter encoder."""
