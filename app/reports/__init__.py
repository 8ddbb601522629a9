"""What people read about a job: sections of sentences, tables and pictures, in HTML and Markdown.

A section is made once, as a value. The page that travels with the files, the page of a job without
files and the console show the same HTML of it; the model card shows the same in Markdown.
"""
