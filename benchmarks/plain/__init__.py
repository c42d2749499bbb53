"""Pieces of LISA's own program, to measure what each saving of this package gains.

They were written from the description of the released code, not copied. Numbers are equal up to rounding.
"""
