"""CapFilt (BLIP §3.3): write a caption for every web image, filter both texts, merge what is kept."""
