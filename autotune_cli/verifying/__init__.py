"""``autotune verify``: is a change there, on two running servers, beyond their noise?"""
