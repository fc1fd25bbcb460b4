"""The report: what each figure and sentence says (info, words), how it is drawn (figures), and the page."""
