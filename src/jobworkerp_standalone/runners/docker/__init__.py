"""DOCKER: containers, through the Docker SDK in threads.

``order`` says what a job wants, ``daemon`` speaks with the Docker daemon, ``images`` sees to it that an image is there,
``container`` plays one container or one command in a kept one, ``owner`` marks containers with the process they belong
to, ``lifetime`` removes them when their time has come, ``runner`` ties them together.
"""
