"""Expressions: jq and Liquid, compiled once, evaluated where they can do no harm.

`template.compile_template` turns a value of a document into a `Template`; `evaluator.Evaluator` gives its value in a
`scope.Scope`; `variables` builds what expressions see.
"""
