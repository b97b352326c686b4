from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('authgate', '0021_hand_over'),
    ]

    operations = [
        migrations.AddField(
            model_name='session',
            name='browser',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=64),
        ),
    ]
