"""What comes from Minecraft: MineWorld's weights and clips, VPT's recordings, and their forms of an action."""
