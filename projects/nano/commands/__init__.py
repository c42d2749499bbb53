"""The programs behind tools/make_demo.py, make_emoji_scenes.py, align_head.py and unpack_smollm2.py."""
