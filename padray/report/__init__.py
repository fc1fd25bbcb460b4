"""The report: what each figure and sentence says (info, words), how it is drawn (figures), and the page.
Imports evaluation's table, the figures that methods give, and the configuration; nothing is trained or stored here."""
