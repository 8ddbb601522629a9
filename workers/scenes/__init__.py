"""Small generated pictures with something to ask about: the data of the reference models.

A scene is a 3 x 3 grid in which two to five cells hold a coloured shape or a real handwritten
digit. Every draw belongs to one split, and the splits share no layout, no digit and no random
stream (`splits`). Needs NumPy and Pillow only.
"""
